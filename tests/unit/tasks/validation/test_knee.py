"""Which rate comes next, and what the rates tried tell. A server that is a function stands for the endpoint."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.cloud.waiting import Time
from tasks.records.errors import InputError
from tasks.records.load import Load
from tasks.records.reports import LoadReport, SweepStep
from tasks.validation.judge import ENOUGH_REQUESTS
from tasks.validation.knee import MOST_STEPS, TOLERANCE, Knee, Limits, Refused, find, next_rate, proposals
from tasks.validation.sweep import conclude, rows, search, step_load, sweepable
from tests.support.builders import a_model
from tests.support.heard import Heard
from tests.support.reports import a_run
from tests.support.sweeps import GOOD, step

LIMITS = Limits(0.1, 640.0)


def tried(capacity: float, start: float, limits: Limits = LIMITS) -> list[SweepStep]:
    """The steps of a search against a server that holds its objectives up to `capacity`."""
    steps: list[SweepStep] = []
    while (rate := next_rate(steps, start, limits)) is not None:
        steps.append(step(rate, "PASS" if rate <= capacity else "FAIL"))
        assert len(steps) <= MOST_STEPS
    return steps


@given(capacity=st.floats(0.3, 300), start=st.floats(1, 100))
def test_the_knee_of_a_server_without_noise_is_found_wherever_it_is(capacity: float, start: float) -> None:
    found = find(tried(capacity, start), (1, 1))
    assert isinstance(found, Knee)
    assert found.rate <= capacity < found.rate * TOLERANCE * (1 + 1e-9)


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([], 8.0),
        ([step(8)], 16.0),
        ([step(8), step(16)], 32.0),
        ([step(8, "FAIL")], 4.0),
        ([step(8), step(16, "FAIL")], math.sqrt(128)),
        ([step(8), step(9, "FAIL")], 8.0),  # near enough: the one that held again
        ([step(8), step(9, "FAIL"), step(8)], None),
        ([step(8), step(16, "INCONCLUSIVE")], None),
        ([step(8), step(4, "FAIL")], None),
        ([step(640)], None),
        ([step(400)], 640.0),
        ([step(0.1, "FAIL")], None),
        ([step(8)] * MOST_STEPS, None),
    ],
)
def test_the_next_rate(steps: list[SweepStep], expected: float | None) -> None:
    assert next_rate(steps, 8.0, LIMITS) == (None if expected is None else pytest.approx(expected))


@pytest.mark.parametrize(
    ("steps", "replicas", "why"),
    [
        ([], (1, 1), "no step was made"),
        (GOOD, (1, 2), "replicas went from 1 to 2"),
        ([step(8), step(16)], (1, 1), "held at every rate: the knee is above 16/s"),
        ([step(8, "FAIL"), step(4, "FAIL")], (1, 1), "broke at every rate, down to 4/s"),
        ([step(8), step(16, "FAIL")], (1, 1), "somewhere between 8/s and 16/s"),
        ([step(8), step(9, "FAIL")], (1, 1), "8/s held once"),
        ([step(8), step(9, "FAIL"), step(8, "FAIL")], (1, 1), "broke at 8/s and held at the same rate"),
        ([step(8), step(16), step(12, "FAIL")], (1, 1), "broke at 12/s and held at 16/s"),
        ([step(8), step(9, "INCONCLUSIVE")], (1, 1), "inconclusive at 9/s"),
        ([step(8, "INCONCLUSIVE")], (1, 1), "inconclusive at 8/s"),
        ([step(8, in_flight=30), *GOOD[1:]], (1, 1), "fewer requests were under way at 10/s"),
    ],
)
def test_what_tells_no_knee_is_refused_with_the_reason(
    steps: list[SweepStep], replicas: tuple[int, int], why: str
) -> None:
    found = find(steps, replicas)
    assert isinstance(found, Refused)
    assert why in found.why


def test_the_knee_is_the_highest_rate_that_held_twice() -> None:
    found = find(GOOD, (1, 1))
    assert isinstance(found, Knee)
    assert found.rate == 10


def test_a_rate_beyond_the_knee_that_told_nothing_does_not_matter() -> None:
    assert isinstance(find([*GOOD, step(32, "INCONCLUSIVE")], (1, 1)), Knee)


@pytest.mark.parametrize(
    ("in_flight", "replicas", "target", "most"),
    [(20.0, 1, 16, 32), (40.0, 2, 16, 32), (0.5, 1, 1, 8), (100.0, 1, 80, 120)],
)
def test_what_follows_from_requests_under_way(
    in_flight: float, replicas: int, target: int, most: int
) -> None:
    found = proposals(Knee(10.0, step(10, in_flight=in_flight)), replicas)
    assert found[:2] == (target, most)
    assert "Little's law" in found[2]


# ----------------------------------------------------------------------- search


def server(
    capacity: float, seconds: Callable[[float], None] = lambda _: None
) -> Callable[[Load], LoadReport]:
    def measure(load: Load) -> LoadReport:
        assert load.rate is not None
        seconds(load.warmup + load.window)
        verdict = "PASS" if load.rate <= capacity else "FAIL"
        return a_run(1).model_copy(update={"verdict": verdict, "in_flight": load.rate * 1.5})

    return measure


def test_a_sweep_ends_with_the_knee_and_what_follows(heard: Heard) -> None:
    model = a_model(load={"rate": 4.0})
    found = conclude(search(model, server(21.0), heard, replicas=2, budget=1e6), 2)
    assert found.refused is None
    assert found.knee is not None and 21 / TOLERANCE <= found.knee <= 21
    assert found.in_flight == pytest.approx(1.5 * found.knee)
    assert found.requests_per_replica == math.floor(0.8 * 1.5 * found.knee / 2)
    assert [row["rate"] for row in rows(found)].count(f"{found.knee:.3g}/s (knee)") == 2


def test_a_sweep_never_begins_a_step_its_budget_does_not_hold(heard: Heard) -> None:
    now = [0.0]

    def pass_time(seconds: float) -> None:
        now[0] += seconds

    model = a_model(load={"rate": 4.0, "warmup": 5, "window": 60, "drain": 30})
    found = search(model, server(21.0, pass_time), heard, replicas=1, budget=200, time=Time(lambda: now[0]))
    assert len(found.steps) == 2  # 65 s each, and up to 95: a third could end at 225
    assert now[0] <= 200
    refused = conclude(found, 1).refused
    assert refused is not None and "the knee is above" in refused


def test_each_step_asks_with_other_prompts_at_its_own_rate() -> None:
    load = Load.model_validate({"rate": 4.0, "ramp_to": 8.0, "window": 300})
    first, second = (step_load(load, 7.0, n, 60.0) for n in range(2))
    assert (first.rate, first.ramp_to, first.window) == (7.0, None, 60.0)
    assert len({load.seed, first.seed, second.seed}) == 3


def test_a_slow_rate_gets_a_window_that_holds_enough_requests() -> None:
    load = Load.model_validate({"rate": 4.0, "window": 300})
    assert step_load(load, 0.1, 0, 60.0).window == pytest.approx(2 * ENOUGH_REQUESTS / 0.1)


@pytest.mark.parametrize(
    "load",
    [
        {"arrivals": "closed", "concurrency": 4, "rate": None},
        {"arrivals": "trace", "trace": {"file": "x.csv"}, "rate": None},
    ],
)
def test_a_load_without_a_rate_cannot_be_swept(load: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="a sweep changes the rate"):
        sweepable(a_model(load=load))
