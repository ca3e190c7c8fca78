"""What a CI job does about the run it started."""

from __future__ import annotations

import pytest

from flows.ci.decide import WORKER_SECONDS, Seen, Step, decide, exit_code

LATE = WORKER_SECONDS + 1


@pytest.mark.parametrize(
    ("seen", "step"),
    [
        (Seen(final=False, waited=1, workers=0, elapsed=1), "follow"),
        (Seen(final=False, waited=LATE, workers=0, elapsed=LATE), "no worker"),
        # it was approved a moment ago, and its worker is being replaced
        (Seen(final=False, waited=1, workers=0, elapsed=LATE), "follow"),
        # it is busy with other runs
        (Seen(final=False, waited=LATE, workers=1, elapsed=LATE), "follow"),
        (Seen(final=False, waited=None, workers=0, elapsed=LATE), "follow"),
        (Seen(final=False, waited=None, workers=0, elapsed=601), "too long"),
        (Seen(final=False, waited=1, workers=1, elapsed=601), "too long"),
        (Seen(final=True, waited=None, workers=0, elapsed=601), "ended"),
    ],
)
def test_a_run_is_followed_given_up_or_over(seen: Seen, step: Step) -> None:
    assert decide(seen, timeout=600) == step


@pytest.mark.parametrize(
    ("state", "name", "label", "code"),
    [
        ("COMPLETED", "Proven", None, 0),
        ("FAILED", "Failed", 4, 4),
        ("FAILED", "Failed", None, 1),
        ("FAILED", "Cannot succeed", None, 3),
        ("CRASHED", "Crashed", None, 1),
        ("CANCELLED", "Cancelled", None, 130),
        # a run that failed is no success, whatever its label says
        ("FAILED", "Failed", 0, 1),
        ("FAILED", "Failed", "4", 1),
    ],
)
def test_the_exit_code_is_the_products(state: str, name: str, label: object, code: int) -> None:
    assert exit_code(state, name, label) == code
