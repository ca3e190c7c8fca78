"""Size and speed of a volume follow from bytes, times and limits."""

from __future__ import annotations

import pytest

from tasks.cache.volume import Volume, differences, throughput_for, transfer_seconds, volume_for
from tasks.records.cache import Cache

GIB = 1 << 30


@pytest.mark.parametrize(
    ("total", "cache", "kept", "volume"),
    [
        (0, Cache(), 0, Volume(2, 3000, 125)),
        (10 * GIB, Cache(), 0, Volume(15, 3000, 125)),
        (10 * GIB, Cache(), 10 * GIB, Volume(28, 3000, 125)),
        (10 * GIB, Cache(size="300Gi"), 0, Volume(300, 3000, 125)),
        (10 * GIB, Cache(throughput=1000), 0, Volume(15, 4000, 1000)),
        (10 * GIB, Cache(iops=16000, throughput=1000), 0, Volume(32, 16000, 1000)),
        (10 * GIB, Cache(throughput=2000), 0, Volume(16, 8000, 2000)),
        (10 * GIB, Cache(load_seconds=60), 0, Volume(15, 3000, 175)),
        (10 * GIB, Cache(load_seconds=60, throughput=500), 0, Volume(15, 3000, 500)),
        (10 * GIB, Cache(load_seconds=10), 0, Volume(15, 4100, 1025)),
        (400 * GIB, Cache(load_seconds=60), 0, Volume(522, 8000, 2000)),
        (10 * GIB, Cache(load_seconds=600), 0, Volume(15, 3000, 125)),
    ],
)
def test_a_volume_follows_from_bytes_and_gp3s_limits(
    total: int, cache: Cache, kept: int, volume: Volume
) -> None:
    assert volume_for(total, cache, kept, budget_mib_s=100) == volume
    assert volume.throughput <= volume.iops / 4
    assert volume.iops <= max(3000, 500 * volume.size_gib)


@pytest.mark.parametrize(
    ("load_seconds", "budget", "ceiling", "throughput"),
    [
        (None, 100.0, None, 125),
        (None, 300.0, None, 300),
        (None, 301.0, None, 325),
        (None, 300.0, 417.2, 300),
        (None, 500.0, 417.2, 417),
        (None, 500.0, 106.0, 125),
        (20.0, 100.0, None, 525),
        (20.0, 100.0, 417.2, 417),
        (1.0, 100.0, None, 2000),
    ],
)
def test_the_throughput_reads_the_model_in_time_as_far_as_gp3_and_the_instance_can(
    load_seconds: float | None, budget: float, ceiling: float | None, throughput: int
) -> None:
    assert throughput_for(10 * GIB, load_seconds, budget, ceiling) == throughput


def test_the_time_a_copy_may_take_follows_from_its_bytes() -> None:
    assert transfer_seconds(100 * GIB, 100) == pytest.approx(60 + 2 * 1024)


@pytest.mark.parametrize(
    ("has", "wanted", "asked", "words"),
    [
        (Volume(20, 3000, 125), Volume(20, 3000, 125), True, []),
        (Volume(20, 3000, 125), Volume(30, 3000, 125), True, []),
        (Volume(30, 3000, 125), Volume(20, 3000, 125), False, []),
        (Volume(30, 3000, 125), Volume(20, 3000, 125), True, ["cannot shrink"]),
        (Volume(20, 3000, 125), Volume(20, 4000, 500), False, ["--iops 4000 --throughput 500"]),
        (Volume(20, 8000, 125), Volume(20, 3000, 125), False, ["--iops 3000 --throughput 125"]),
        (Volume(30, 8000, 125), Volume(20, 3000, 125), True, ["--iops 3000", "cannot shrink"]),
    ],
)
def test_what_a_volume_has_otherwise_is_told_with_the_command(
    has: Volume, wanted: Volume, asked: bool, words: list[str]
) -> None:
    lines = differences(has, wanted, "vol-1", asked=asked)
    assert len(lines) == len(words)
    for line, word in zip(lines, words, strict=True):
        assert word in line
