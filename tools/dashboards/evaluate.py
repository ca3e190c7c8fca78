"""Evaluate the dashboards' queries over the made series by the real Prometheus (Debian's package `prometheus`)."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx

from tools.dashboards.series import MODELS, NAMESPACE, SECONDS, openmetrics

START_SECONDS = 60.0


@dataclass(frozen=True)
class Line:
    """One series of an answer: its labels, and (seconds since the beginning, value)."""

    labels: Mapping[str, str]
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Evaluation:
    """A Prometheus that has the series; the last sample is at `end`."""

    url: str
    end: float

    def lines(self, expression: str, namespace: str = NAMESPACE) -> list[Line]:
        """What a query answers over the whole time, with the dashboard's variables chosen. Raises HTTPStatusError."""
        chosen = expression.replace("$namespace", namespace).replace("$model", "|".join(MODELS))
        start = self.end - SECONDS
        parameters: dict[str, str | float] = {"query": chosen, "start": start, "end": self.end, "step": 60}
        answer = httpx.get(f"{self.url}/api/v1/query_range", params=parameters, timeout=60).raise_for_status()
        return [
            Line(series["metric"], tuple((float(t) - start, float(v)) for t, v in series["values"]))
            for series in answer.json()["data"]["result"]
        ]


def program(name: str) -> str:
    """Raises FileNotFoundError where the package is not installed."""
    if found := shutil.which(name):
        return found
    raise FileNotFoundError(f"no {name} on PATH: apt-get install prometheus")


@contextlib.contextmanager
def evaluation(folder: Path) -> Iterator[Evaluation]:
    """Run Prometheus over the series until the block ends. Raises TimeoutError, CalledProcessError, FileNotFoundError."""
    end = float(int(time.time()) // 60 * 60)
    (folder / "series.txt").write_text(openmetrics(end))
    words = [program("promtool"), "tsdb", "create-blocks-from", "openmetrics", "series.txt", "data"]
    subprocess.run(words, cwd=folder, check=True, capture_output=True, timeout=120)
    (folder / "prometheus.yaml").write_text("{}")
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    server = [program("prometheus"), "--config.file=prometheus.yaml", "--storage.tsdb.path=data"]
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(
            [*server, f"--web.listen-address={address}"], cwd=folder, stdout=log, stderr=log
        )
        try:
            _await_ready(f"http://{address}/-/ready", process)
            yield Evaluation(f"http://{address}", end)
        finally:
            process.terminate()
            process.wait(30)


def _await_ready(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(url, timeout=5).is_success:
                return
        time.sleep(0.1)
    raise TimeoutError(f"Prometheus did not start within {START_SECONDS:g} s")
