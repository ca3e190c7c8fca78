from __future__ import annotations

import pytest

from slipway_sandbox.images.prometheus.storage import Labels, Matcher, Storage, TooManySeries


def named(name: str) -> Labels:
    return (("__name__", name),)


def test_samples_older_than_the_retention_are_forgotten() -> None:
    storage = Storage(retention_seconds=100)
    for time in range(0, 1000, 10):
        storage.append(time, [(named("a"), 1.0)])
    (kept,) = storage.select([Matcher("__name__", "=", "a")])
    assert kept.times[0] >= 1000 - 100 - 20
    assert storage.samples == len(kept.times)


def test_the_number_of_samples_is_bounded() -> None:
    storage = Storage(sample_limit=1_000)
    for time in range(2_000):
        storage.append(time, [(named("a"), 1.0), (named("b"), 2.0)])
        assert storage.samples <= 1_002
    (kept,) = storage.select([Matcher("__name__", "=", "a")])
    assert kept.times[-1] == 1_999


def test_the_number_of_series_is_bounded() -> None:
    storage = Storage(series_limit=2)
    with pytest.raises(TooManySeries):
        storage.append(1, [(named(name), 1.0) for name in "abc"])


def test_a_series_without_samples_is_forgotten() -> None:
    storage = Storage(retention_seconds=10)
    storage.append(0, [(named("old"), 1.0)])
    for time in range(1, 30):
        storage.append(time, [(named("new"), 1.0)])
    assert storage.select([Matcher("__name__", "=", "old")]) == []


def test_a_sample_that_is_not_newer_is_dropped() -> None:
    storage = Storage()
    storage.append(5, [(named("a"), 1.0)])
    storage.append(5, [(named("a"), 2.0)])
    (kept,) = storage.select([])
    assert list(kept.values) == [1.0]
