from __future__ import annotations

import itertools
import math

import pytest

from tasks.holding.decide import Action, Seen, allowed, decide, seconds_left


@pytest.mark.parametrize(
    ("seen", "action"),
    [
        (Seen(ready=["10.0.0.1:8000"]), Action.RELEASE),
        (Seen(ready=["10.0.0.1:8000"], replicas=0), Action.RELEASE),  # it drains, and still answers
        (Seen(replicas=0), Action.WAKE),
        (Seen(replicas=1), Action.WAIT),
        (Seen(replicas=None), Action.REFUSE),
    ],
)
def test_what_is_done_while_a_request_waits(seen: Seen, action: Action) -> None:
    assert decide(seen) is action


@pytest.mark.parametrize(
    ("elapsed", "rate", "ramp", "requests"),
    [
        (0.0, 10.0, 10.0, 1.0),
        (10.0, 10.0, 10.0, 1 + 62.5),  # on average five eighths of the rate
        (20.0, 10.0, 10.0, 1 + 162.5),
        (2.0, 10.0, 0.0, 21.0),
        (0.0, None, 10.0, math.inf),
    ],
)
def test_how_many_may_go_on_since_the_model_is_ready(
    elapsed: float, rate: float | None, ramp: float, requests: float
) -> None:
    assert allowed(elapsed, rate, ramp) == pytest.approx(requests)


def test_the_ramp_never_falls_and_never_exceeds_the_rate() -> None:
    steps = [allowed(second / 10, 8.0, 5.0) for second in range(200)]
    differences = [later - earlier for earlier, later in itertools.pairwise(steps)]
    assert all(0 < difference <= 0.8 + 1e-9 for difference in differences)
    assert differences[0] == pytest.approx(0.2, rel=0.05)


@pytest.mark.parametrize(
    ("expected", "woken", "now", "left"),
    [
        (None, 100.0, 110.0, None),
        (60.0, 100.0, 110.0, 50),
        (60.0, 100.0, 110.5, 50),
        (60.0, 100.0, 160.0, None),  # it takes longer than the last one: nobody knows
        (60.0, None, 200.0, 60),
    ],
)
def test_the_time_left(expected: float | None, woken: float | None, now: float, left: int | None) -> None:
    assert seconds_left(expected, woken, now) == left
