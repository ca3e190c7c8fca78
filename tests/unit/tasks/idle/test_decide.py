from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.cloud.prometheus import TimeSeries, increase
from tasks.idle.decide import (
    PROMPTS,
    REQUESTS,
    RUNNING,
    UTILIZATION,
    WAITING,
    Signals,
    decide,
)
from tasks.records.model import Scaling

NOW = 100_000.0
WINDOW = 600.0
INTERVAL = 15.0
METRICS = (REQUESTS, PROMPTS, RUNNING, WAITING, UTILIZATION)
SCALING = Scaling(idle_after=WINDOW, idle_gpu_utilization=5.0)
COUNT = int(WINDOW / INTERVAL) + 4
FIRST = COUNT - 1 - int(WINDOW / INTERVAL)  # the sample at the window's very beginning


def series(
    value: float | Sequence[float] = 0.0, *, skip: Sequence[int] = (), count: int = COUNT, **labels: str
) -> TimeSeries:
    """Samples every INTERVAL up to NOW, all of one value or the ones given for the newest; oldest first."""
    values = (
        [value] * count if isinstance(value, int | float) else [value[0]] * (count - len(value)) + list(value)
    )
    times = [NOW - INTERVAL * (count - 1 - n) for n in range(count)]
    samples = tuple((at, v) for n, (at, v) in enumerate(zip(times, values, strict=True)) if n not in skip)
    return TimeSeries(labels or {"pod": "p"}, samples)


def signals(*, pods: tuple[str, ...] = ("p",), **over: Any) -> Signals:
    """Idle signals, but for `requests`, `prompts`, `running`, `waiting`, `utilization`: a TimeSeries or a list of them."""
    names = dict(zip(("requests", "prompts", "running", "waiting", "utilization"), METRICS, strict=True))
    found: dict[str, list[TimeSeries]] = {metric: [series(pod=pod) for pod in pods] for metric in METRICS}
    for name, given_series in over.items():
        found[names[name]] = given_series if isinstance(given_series, list) else [given_series]
    return Signals(series=found, pods=pods, read_at=NOW, scrape_interval=INTERVAL)


def with_signal(name: str, found: TimeSeries | list[TimeSeries]) -> Signals:
    over: dict[str, Any] = {name: found}
    return signals(**over)


def test_gpus_nobody_used_for_the_whole_window_may_go() -> None:
    decision = decide(signals(), SCALING)
    assert decision.act
    assert len(decision.evidence) == 5


def test_every_pod_must_be_idle() -> None:
    decision = decide(signals(pods=("p", "q"), running=[series(pod="p"), series(1, pod="q")]), SCALING)
    assert not decision.act
    assert "q: up to 1 requests running" in decision.reason


def test_two_idle_pods_may_go() -> None:
    assert decide(signals(pods=("p", "q")), SCALING).act


@pytest.mark.parametrize(
    "busy",
    [
        {"requests": series([7.0, 8.0])},
        {"requests": [series(pod="p", reason="stop"), series([0.0, 1.0], pod="p", reason="length")]},
        {"prompts": series([900.0, 908.0])},  # of a client that left before an answer was complete
        {"running": series(1)},
        {"running": series([0.0, 1.0, *[0.0] * (COUNT - 1 - FIRST)])},  # once, at the window's beginning
        {"waiting": series(3)},
        {"utilization": series([0.0, 0.0, 60.0, 0.0])},
        {"utilization": [series(pod="p", gpu="0"), series(6.0, pod="p", gpu="1")]},
    ],
)
def test_one_busy_signal_is_enough_to_stay(busy: dict[str, Any]) -> None:
    assert not decide(signals(**busy), SCALING).act


def test_a_gpu_at_its_idle_bound_is_idle() -> None:
    assert decide(signals(utilization=series(5.0)), SCALING).act


def test_requests_of_long_ago_are_no_use_now() -> None:
    assert decide(signals(requests=series(41_000.0)), SCALING).act


def test_what_was_busy_before_the_window_is_idle_now() -> None:
    assert decide(signals(running=series([5.0, 0.0, *[0.0] * (COUNT - 2)])), SCALING).act


def test_a_counter_that_began_again_has_counted_since() -> None:
    assert not decide(signals(requests=series([9.0, 9.0, 2.0])), SCALING).act


def test_a_counter_that_began_again_at_nothing_counted_nothing() -> None:
    assert decide(signals(requests=series([9.0, 9.0, 0.0])), SCALING).act


@pytest.mark.parametrize("missing", ["requests", "prompts", "running", "waiting", "utilization"])
def test_a_missing_series_is_not_taken_for_idle(missing: str) -> None:
    decision = decide(with_signal(missing, []), SCALING)
    assert not decision.act
    assert "no series" in decision.reason


def test_another_pods_series_does_not_speak_for_this_one() -> None:
    assert not decide(signals(running=series(pod="other")), SCALING).act


def test_a_series_without_samples_is_not_taken_for_idle() -> None:
    assert not decide(signals(running=TimeSeries({"pod": "p"}, ())), SCALING).act


@pytest.mark.parametrize("count", [1, 2, COUNT // 2, COUNT - 8])
def test_a_pod_seen_for_a_part_of_the_window_only_stays(count: int) -> None:
    decision = decide(signals(running=series(count=count)), SCALING)
    assert not decision.act
    assert "are needed" in decision.reason


@pytest.mark.parametrize(
    ("skip", "act"),
    [
        ([20], True),  # Prometheus loses one now and then
        ([20, 21], True),
        ([20, 21, 22, 23], False),
        ([COUNT - 1, COUNT - 2], True),  # the newest
        ([COUNT - n for n in range(1, 6)], False),  # nothing was heard for a while: stale
    ],
)
def test_a_gap_in_the_samples_is_not_taken_for_idle(skip: list[int], act: bool) -> None:
    assert decide(signals(waiting=series(skip=skip)), SCALING).act is act


@pytest.mark.parametrize("signal", ["requests", "running", "waiting", "utilization"])
def test_a_sample_that_is_no_number_is_not_taken_for_idle(signal: str) -> None:
    assert not decide(with_signal(signal, series([0.0, float("nan"), 0.0])), SCALING).act


def test_a_busy_gpu_beside_a_sample_that_is_no_number_is_busy() -> None:
    first = [float("nan"), *[90.0] * (COUNT - FIRST)]
    assert not decide(signals(utilization=series(first)), SCALING).act


def test_the_dcgm_exporters_own_pod_is_not_the_pod_it_reports_about() -> None:
    utilization = series(70.0, pod="dcgm-exporter-1", exported_pod="p")
    assert not decide(signals(utilization=utilization), SCALING).act


def test_nothing_serving_is_nothing_to_scale_down() -> None:
    decision = decide(signals(pods=()), SCALING)
    assert not decision.act
    assert "nothing serves" in decision.reason


def test_the_evidence_up_to_the_reason_is_kept() -> None:
    decision = decide(signals(waiting=series(2)), SCALING)
    assert decision.evidence[-1] == decision.reason == "p: up to 2 requests waiting"


counts = st.lists(st.integers(0, 1000).map(float), min_size=1, max_size=30)


@given(counts)
def test_a_counter_never_falls(values: list[float]) -> None:
    assert increase(series(values, count=len(values))) >= 0


@given(counts)
def test_a_counter_that_only_rises_rose_by_its_difference(values: list[float]) -> None:
    rising = sorted(values)
    assert increase(series(rising, count=len(rising))) == rising[-1] - rising[0]


@given(
    signal=st.sampled_from(["running", "waiting", "utilization"]),
    at=st.integers(FIRST, COUNT - 1),
    value=st.floats(5.1, 100),
)
def test_any_one_busy_sample_anywhere_in_the_window_keeps_the_gpus(
    signal: str, at: int, value: float
) -> None:
    values = [0.0] * COUNT
    values[at] = value
    assert not decide(with_signal(signal, series(values)), SCALING).act


@given(st.sets(st.integers(0, COUNT - 1)))
def test_losing_samples_never_makes_a_busy_pod_idle(lost: set[int]) -> None:
    """A pod that runs a request all the time is busy or unknown, whatever Prometheus loses."""
    assert not decide(signals(running=series(1.0, skip=sorted(lost))), SCALING).act
