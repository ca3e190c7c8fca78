"""The bench of the load generator: its server's log, and its figures."""

from __future__ import annotations

import array
import random
from pathlib import Path

import pytest

from bench.load.truth import Served, Truth, kolmogorov_smirnov, read_log


def test_the_servers_log_is_read_as_it_writes_it(tmp_path: Path) -> None:
    file = tmp_path / "log"
    numbers = [10**9, 3, 2 * 10**9, 3 * 10**9, 4 * 10**9, 5 * 10**9, 1, 6 * 10**9]
    file.write_bytes(array.array("q", numbers).tobytes())
    first, second = read_log(file)
    assert (first.arrival, first.writes, first.ttft, first.tpot) == (1.0, (2.0, 3.0, 4.0), 1.0, 1.0)
    assert (second.arrival, second.ttft) == (5.0, 1.0)


def test_requests_open_together_are_averaged_over_the_middle() -> None:
    pair = [Served(float(n), (n + 1.0, n + 2.0)) for n in range(100)]
    assert Truth(tuple(pair), 2).at_once() == pytest.approx(2.0, abs=0.05)


def test_exponential_gaps_pass_and_equal_ones_do_not() -> None:
    chance = random.Random(3)
    at, arrivals = 0.0, []
    for _ in range(3000):
        at += chance.expovariate(200.0)
        arrivals.append(at)
    distance, bound = kolmogorov_smirnov(arrivals)
    assert distance < bound
    distance, bound = kolmogorov_smirnov([n / 200 for n in range(3000)])
    assert distance > bound
