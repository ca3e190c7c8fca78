"""The timing server: built, started on its own core, and its log read as the truth."""

from __future__ import annotations

import array
import json
import math
import os
import subprocess
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

SOURCE = Path(__file__).with_name("server.cpp")
NANO = 1e9
KS_BOUND = 1.358  # over the square root of the count: alpha = 5 %, large samples


@dataclass(frozen=True)
class Served:
    """One request as the server wrote it; seconds on its clock."""

    arrival: float
    writes: tuple[float, ...]

    @property
    def ttft(self) -> float:
        return self.writes[0] - self.arrival

    @property
    def tpot(self) -> float:
        return (self.writes[-1] - self.writes[0]) / (len(self.writes) - 1)


@dataclass(frozen=True)
class Truth:
    """What the server saw: `most_at_once` requests it had open together."""

    requests: tuple[Served, ...]
    most_at_once: int

    @property
    def rate(self) -> float:
        """Finished requests a second, between the first arrival and the last."""
        arrivals = sorted(one.arrival for one in self.requests)
        return (len(arrivals) - 1) / (arrivals[-1] - arrivals[0]) if len(arrivals) > 1 else 0.0

    def at_once(self) -> float:
        """Requests open on average in the middle half of the time."""
        first, last = self.requests[0].arrival, max(one.writes[-1] for one in self.requests)
        begin, end = first + (last - first) / 4, last - (last - first) / 4
        open_time = sum(max(0.0, min(one.writes[-1], end) - max(one.arrival, begin)) for one in self.requests)
        return open_time / (end - begin)


class Server:
    """A running one."""

    def __init__(self, port: int, log: Path) -> None:
        self.url, self._log = f"http://127.0.0.1:{port}", log

    def _get(self, path: str) -> str:
        with urllib.request.urlopen(f"{self.url}{path}", timeout=30) as answer:  # noqa: S310  our own loopback
            body: bytes = answer.read()
        return body.decode()

    def reset(self) -> None:
        self._get("/reset")

    def truth(self) -> Truth:
        told = json.loads(self._get("/log"))
        return Truth(tuple(read_log(self._log)), int(told["most_at_once"]))


@contextmanager
def serving(
    program: Path, core: int, *, tokens: int, first_ms: float, gap_ms: float, log: Path
) -> Iterator[Server]:
    """The server on one core; `first_ms` to the first token, `gap_ms` between tokens."""
    command = [str(program), str(tokens), str(int(first_ms * 1000)), str(int(gap_ms * 1000)), str(log)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, preexec_fn=lambda: os.sched_setaffinity(0, {core})
    )
    assert process.stdout is not None
    try:
        yield Server(int(process.stdout.readline()), log)
    finally:
        process.terminate()
        process.wait(10)
        process.stdout.close()


def read_log(file: Path) -> Iterator[Served]:
    """server.cpp's format: int64 arrival, count, then so many write times, in nanoseconds."""
    numbers = array.array("q")
    numbers.frombytes(file.read_bytes())
    place = 0
    while place < len(numbers):
        arrival, count = numbers[place], numbers[place + 1]
        writes = numbers[place + 2 : place + 2 + count]
        yield Served(arrival / NANO, tuple(write / NANO for write in writes))
        place += 2 + count


def kolmogorov_smirnov(arrivals: Sequence[float]) -> tuple[float, float]:
    """(largest distance of the gaps from an exponential distribution of their own mean, the 5 % bound)."""
    ordered = sorted(arrivals)
    gaps = sorted(later - earlier for earlier, later in pairwise(ordered))
    mean, count = sum(gaps) / len(gaps), len(gaps)
    distance = max(
        max((n + 1) / count - ideal, ideal - n / count)
        for n, gap in enumerate(gaps)
        for ideal in [1 - math.exp(-gap / mean)]
    )
    return distance, KS_BOUND / math.sqrt(count)
