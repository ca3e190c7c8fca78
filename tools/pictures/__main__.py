"""Draw the README's pictures from a deploy in a sandbox of its own.

    python -m tools.pictures [--into docs/pictures]

`run.png`: a deploy's graph in Prefect's UI. `deploying.svg`, `deployed.svg`: what a terminal shows of it, meanwhile and at
its end. `load-report.png`: the page of a second load validation, beside the first. The hub is made slow, so that staging is
seen beside terraform. It takes some minutes and needs Chromium (`apt-get install chromium`).
"""

from __future__ import annotations

import argparse
import codecs
import contextlib
import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import tempfile
import termios
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import boto3
import httpx

from tools.pictures.browser import Part, chromium, picture
from tools.pictures.screen import HEIGHT, WIDTH, busiest, frames, plain, svg
from tools.sandboxed import PATIENCE, ROOT, SLIPWAY, sandbox, slipway

DEPLOY = ("deploy", "tiny-llama", "-e", "sandbox")
# so that 24 MB take about as long as terraform's cluster
HUB_BYTES_A_SECOND = 2_000_000
MOST_BYTES = 300_000

# the run's head and graph, without the menu beside them; of the report all down to the first two charts
RUN = Part((1400, 620), left=258, width=1142, height=502, scale=1.5)
PAGE = Part((1000, 1600), width=1000, height=1425)
# the UI draws its graph some time after the page is there
UI_MS, PAGE_MS = 15_000, 2_000


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tools.pictures", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--into", type=Path, default=ROOT / "docs" / "pictures")
    into: Path = parser.parse_args().into
    try:
        program = chromium()
    except FileNotFoundError as error:
        sys.exit(str(error))
    into.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="slipway-pictures-") as scratch:
        home = Path(scratch)
        with sandbox(home) as variables:
            draw(program, home, variables, into)
    for file in sorted(into.iterdir()):
        print(f"{file}  {file.stat().st_size:,} bytes")
        if file.stat().st_size > MOST_BYTES:
            sys.exit(f"{file} is larger than {MOST_BYTES:,} bytes")


def draw(program: str, home: Path, variables: Mapping[str, str], into: Path) -> None:
    slipway(home, variables, "sandbox", "fault", "set", "hub-slow", "--value", str(HUB_BYTES_A_SECOND))
    drawn = list(frames(on_terminal(home, variables, *DEPLOY, "--yes")))
    title = " ".join(["slipway", *DEPLOY])
    (into / "deploying.svg").write_text(svg(busiest(drawn), title))
    (into / "deployed.svg").write_text(svg(summary(drawn[-1]), title))
    picture(program, run_page(variables), RUN, into / "run.png", UI_MS)
    told = slipway(home, variables, *DEPLOY, "--yes", "--revalidate")
    page = home / "page.html"
    page.write_bytes(fetched(told, variables))
    picture(program, page.as_uri(), PAGE, into / "load-report.png", PAGE_MS)


def on_terminal(home: Path, variables: Mapping[str, str], *words: str) -> Iterator[str]:
    """What a command writes to a terminal, piece by piece. Ends this one where it fails."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", HEIGHT, WIDTH, 0, 0))
    process = subprocess.Popen(
        [SLIPWAY, *words], cwd=home, env={**variables, "TERM": "xterm-256color"}, stdin=theirs, stdout=theirs,
        stderr=theirs, start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    decoder = codecs.getincrementaldecoder("utf-8")()
    # reading fails once nobody has the other end any more
    with contextlib.suppress(OSError):
        while data := os.read(ours, 65536):
            yield decoder.decode(data)
    os.close(ours)
    if code := process.wait(PATIENCE):
        sys.exit(f"slipway {' '.join(words)} ended with exit code {code}")


def summary(rows: list[str]) -> list[str]:
    """Of the last frame what comes after the steps. Raises StopIteration where nothing does."""
    first = next(place for place, row in enumerate(rows) if "critical path:" in plain(row))
    return rows[first:]


def run_page(variables: Mapping[str, str]) -> str:
    """The page of the last run in Prefect's UI."""
    api = variables["PREFECT_API_URL"]
    asked = httpx.post(f"{api}/flow_runs/filter", json={"sort": "START_TIME_DESC", "limit": 1}, timeout=30)
    [run] = asked.raise_for_status().json()
    return f"{api.removesuffix('/api')}/runs/flow-run/{run['id']}"


def fetched(told: str, variables: Mapping[str, str]) -> bytes:
    """The load report's page that a deploy told the address of."""
    [address] = re.findall(r"^ *page +(s3://\S+\.html)$", told, re.MULTILINE)
    where = urlsplit(address)
    s3 = boto3.client(
        "s3",
        endpoint_url=variables["AWS_ENDPOINT_URL"],
        region_name=variables["AWS_REGION"],
        aws_access_key_id=variables["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=variables["AWS_SECRET_ACCESS_KEY"],
    )
    return bytes(s3.get_object(Bucket=where.netloc, Key=where.path.lstrip("/"))["Body"].read())


if __name__ == "__main__":
    main()
