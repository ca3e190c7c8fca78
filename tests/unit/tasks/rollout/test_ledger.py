from __future__ import annotations

import pytest

from tasks.rollout.ledger import Serving, after_proof
from tasks.rollout.restore import decide_return


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (Serving(), Serving(serving="b")),
        (Serving(rolling="b"), Serving(serving="b")),
        (Serving(serving="a", rolling="b"), Serving(serving="b", previous="a")),
        (Serving(serving="a", previous="z", rolling="b"), Serving(serving="b", previous="a")),
        (Serving(serving="b", previous="a"), Serving(serving="b", previous="a")),
        (Serving(serving="b", previous="a", rolling="b"), Serving(serving="b", previous="a")),
    ],
)
def test_a_proof_keeps_what_served_before_and_twice_is_once(before: Serving, after: Serving) -> None:
    assert after_proof(before, "b") == after
    assert after_proof(after_proof(before, "b"), "b") == after


@pytest.mark.parametrize(
    ("known", "wanted", "target", "act"),
    [
        (Serving(), None, None, False),
        (Serving(rolling="a"), None, None, True),  # the first ever failed: nothing serves
        (Serving(serving="a"), None, "a", False),
        (Serving(serving="a", rolling="b"), None, "a", True),
        (Serving(serving="a", previous="z", rolling="b"), None, "a", True),
        (Serving(serving="b", previous="a"), None, "a", True),
        (Serving(serving="a", rolling="a"), None, "a", False),
        (Serving(serving="a", previous="z", returned=True), None, "a", False),  # put back already
        (Serving(serving="a", previous="z", returned=True, rolling="b"), None, "a", True),
        (Serving(serving="a", previous="z", returned=True), "z", "z", True),
        (Serving(serving="b", previous="a"), "z", "z", True),
        (Serving(), "z", "z", True),
    ],
)
def test_where_to_go_back_to(known: Serving, wanted: str | None, target: str | None, act: bool) -> None:
    decision = decide_return(known, wanted)
    assert (decision.target, decision.act) == (target, act)
    assert decision.reason
