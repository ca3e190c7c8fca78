"""When a promise counts as seen to act, as unproven, or as broken."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tasks.records.drills import Drilled, Drills, Outcome, states_of

NOW = datetime(2026, 11, 30, 9, tzinfo=UTC)
DAY = 86_400.0


def a_result(outcome: Outcome, days_ago: float, cause: str = "") -> Drilled:
    return Drilled(
        promise="scale-out",
        outcome=outcome,
        at=NOW - timedelta(days=days_ago),
        release="r1",
        cause=cause,
        next_command="kubectl get hpa",
    )


@pytest.mark.parametrize(
    ("results", "state", "said"),
    [
        ([], "unproven", "scale-out: UNPROVEN: never seen to act"),
        ([a_result("kept", 1)], "acted", "scale-out: last seen to act 2026-11-29 09:00 UTC"),
        ([a_result("kept", 30)], "acted", "scale-out: last seen to act 2026-10-31 09:00 UTC"),
        ([a_result("kept", 31)], "unproven", "scale-out: UNPROVEN: last seen to act 2026-10-30 09:00 UTC"),
        ([a_result("kept", 9), a_result("broken", 1, "paused")], "broken", "scale-out: BROKEN: paused; last seen to act 2026-11-21 09:00 UTC"),
        ([a_result("broken", 1, "paused")], "broken", "scale-out: BROKEN: paused; never seen to act"),
        ([a_result("broken", 9, "paused"), a_result("kept", 1)], "acted", "scale-out: last seen to act 2026-11-29 09:00 UTC"),
        # not put to the test: what was seen before holds
        ([a_result("kept", 1), a_result("not now", 0, "in use")], "acted", "scale-out: last seen to act 2026-11-29 09:00 UTC"),
        ([a_result("broken", 2, "paused"), a_result("not now", 0)], "broken", "scale-out: BROKEN: paused; never seen to act"),
    ],
)  # fmt: skip
def test_a_promise_is_as_its_last_conclusive_drill_left_it(
    results: list[Drilled], state: str, said: str
) -> None:
    drills = Drills()
    for one in results:
        drills = drills.after(one)
    [found] = states_of(("scale-out",), drills, NOW, 30 * DAY, "slipway drill m -e e")
    assert (found.state, str(found)) == (state, said)
    commands = {"acted": "", "unproven": "slipway drill m -e e", "broken": "kubectl get hpa"}
    assert found.next_command == commands[state]


def test_the_ledger_reads_what_it_wrote() -> None:
    drills = Drills().after(a_result("kept", 1)).after(a_result("broken", 0, "paused"))
    assert Drills.model_validate_json(drills.model_dump_json()) == drills


def test_only_what_is_promised_is_shown() -> None:
    kept: dict[str, Any] = {"promised": (), "drills": Drills().after(a_result("kept", 1))}
    assert states_of(**kept, now=NOW, unproven_after=DAY, drill="") == ()
