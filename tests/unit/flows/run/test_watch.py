"""What a running process does about the state that its run has in Prefect."""

from __future__ import annotations

from typing import Any

import pytest
from prefect.client.schemas.objects import State
from prefect.states import Cancelled, Cancelling, Completed, Crashed, Failed, Pending, Running

from flows.run.watch import Verdict, judge


@pytest.mark.parametrize(
    ("state", "looks", "verdict"),
    [
        (None, 1, "go on"),
        (Running(), 1, "go on"),
        (Pending(), 1, "go on"),
        (Cancelling(), 1, "stop"),
        (Cancelled(), 1, "stop"),
        (Failed(), 1, "stop"),
        (Completed(), 1, "stop"),
        # its worker has the time to send the signal
        (Cancelling(), 3, "go on"),
        (Cancelled(), 2, "go on"),
        # no heartbeat reached a server that was away: who asks is alive
        (Crashed(), 1, "revive"),
        (Crashed(), 3, "revive"),
    ],
)
def test_a_live_process_stops_where_it_was_cancelled_and_denies_that_it_crashed(
    state: State[Any] | None, looks: int, verdict: Verdict
) -> None:
    assert judge(state, looks) == verdict
