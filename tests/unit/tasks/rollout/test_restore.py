from __future__ import annotations

import pytest

from tasks.releases.ledger import Serving
from tasks.rollout.restore import decide_return


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
