"""How often the same release is called slower, and a slower one found, by the pairs of an upgrade.

    python -m bench.pairs [--runs 100] [--slower 0.05] [--count 200]

Three stand-in engines run side by side in this one run: the one that serves, the same again, and one whose times are longer by
`--slower`. In each run the first is asked in pairs beside each of the others, by the program and the decision of the product. What
else this machine does is the noise: its load is printed with the figures.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from slipway_sandbox.testing import make_models, write_engine

from tasks.cloud.plain_http import UNREACHABLE, ask
from tasks.records.answers import AnswersProof
from tasks.records.catalogue import load_model, project_root
from tasks.records.golden import read_golden
from tasks.records.pairs import Paired, PairSettings
from tasks.validation.pairs.asking import ask_in_turn
from tasks.validation.pairs.proof import judge_pairs, pair_instructions
from tests.support.loopback import free_port

MODEL, KEY = "tiny-llama", "sk-bench"
FIRST_SECONDS, GAP_SECONDS, TOKENS = 0.030, 0.004, 16
START_SECONDS = 60.0


@contextmanager
def engine(folder: Path, weights: Path, slower: float) -> Iterator[str]:
    """A stand-in whose times are longer by `slower`; its base URL."""
    folder.mkdir()
    program = write_engine(folder, FIRST_SECONDS * (1 + slower), GAP_SECONDS * (1 + slower))
    port = free_port()
    command = [*program, "serve", str(weights)]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [*command, "--served-model-name", MODEL, "--port", str(port), "--max-model-len", "2048"],
            env={**os.environ, "SLIPWAY_SANDBOX_ROOT": str(folder), "SLIPWAY_SANDBOX_POD_IP": "127.0.0.1"},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            wait_for(f"http://127.0.0.1:{port}/health", process, folder / "log")
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.terminate()
            process.wait(10)


def wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until the engine is there. Raises SystemExit with its log where it ends or is late."""
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        try:
            if ask(url, seconds=5).status == 200:
                return
        except UNREACHABLE:
            time.sleep(0.05)
    raise SystemExit(f"no engine:\n{log.read_text()[-2000:]}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--slower", type=float, default=0.05)
    parser.add_argument("--count", type=int, default=200)
    given = parser.parse_args()
    settings, proof = PairSettings(count=given.count), AnswersProof(max_tokens=TOKENS)
    model = load_model(MODEL, project_root()).model_copy(update={"answers": proof})
    prompts = read_golden(proof, project_root())
    found: dict[str, list[Paired]] = {"same": [], "slower": []}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        weights = make_models(folder / "models") / MODEL / "main"
        with (
            engine(folder / "serves", weights, 0.0) as serves,
            engine(folder / "same", weights, 0.0) as same,
            engine(folder / "slower", weights, given.slower) as slower,
        ):
            began = time.monotonic()

            def asked(name: str) -> Paired:
                told = pair_instructions(
                    model, proof, settings, prompts, [serves], [{"same": same, "slower": slower}[name]]
                )
                lines: list[dict[str, Any]] = []
                ask_in_turn(told, KEY, lines.append)
                return judge_pairs(lines, model, settings, prompts, "serves", datetime.now(UTC))

            names = ["same", "slower"] * given.runs
            for name in names:
                paired = asked(name)
                found[name].append(paired)
                print(f"{name}: {paired.verdict}: {paired.time}", flush=True)
            took = (time.monotonic() - began) / len(names)
    print(f"\n{given.runs} runs of {given.count} pairs, {took:.0f} s each; load {os.getloadavg()[0]:.1f}")
    told_as = {"same": "the same release", "slower": f"a release slower by {given.slower:.0%}"}
    for name, all_of_it in found.items():
        verdicts = Counter(paired.verdict for paired in all_of_it)
        times = [paired.time for paired in all_of_it if paired.time]
        middle = statistics.median(time.estimate for time in times)
        width = statistics.median(time.high - time.low for time in times) / 2
        said = ", ".join(f"{count} {verdict}" for verdict, count in verdicts.items())
        print(f"{told_as[name]}: {said}; median estimate {middle:+.1%}, interval ±{width:.1%}")
    alarms, hits = (sum(one.verdict == "FAIL" for one in found[name]) for name in ("same", "slower"))
    if alarms > 0.05 * given.runs or hits < 0.95 * given.runs:
        raise SystemExit("more than 5 of 100 false alarms, or fewer than 95 of 100 found")


if __name__ == "__main__":
    main()
