"""When a run that waits for a cluster may take it from the one that holds it."""

from __future__ import annotations

import os
import time
from dataclasses import asdict, replace

import pytest

from flows.run.holder import BEAT_SECONDS, ENDED_SECONDS, LOST_SECONDS, SILENT_SECONDS, Holder, Verdict, judge
from tasks.records.owner import this_run

HERE = this_run(time.time())
HOLDER = Holder.of("11111111-1111-1111-1111-111111111111", "deploy a to b", HERE)


@pytest.mark.parametrize(
    ("alive", "quiet", "over", "verdict"),
    [
        (True, 0, False, "wait"),
        # cancelled, and still ending what it had begun
        (True, ENDED_SECONDS, True, "wait"),
        (False, 0, False, "killed"),
        (False, 0, True, "killed"),
        (None, 0, False, "wait"),
        (None, SILENT_SECONDS - 1, False, "wait"),
        (None, SILENT_SECONDS, False, "silent"),
        # its process hangs, or cannot reach the server and has stopped by itself
        (True, SILENT_SECONDS, False, "silent"),
        # a cancelled run on another host beats until it has settled
        (None, 0, True, "wait"),
        (None, ENDED_SECONDS, True, "ended"),
    ],
)
def test_who_may_take_over(alive: bool | None, quiet: float, over: bool, verdict: Verdict) -> None:
    assert judge(alive=alive, quiet=quiet, over=over) == verdict


def test_a_run_stops_by_itself_before_another_takes_its_turn() -> None:
    client_retries = 60
    assert LOST_SECONDS + client_retries + BEAT_SECONDS < SILENT_SECONDS


@pytest.mark.parametrize(
    ("holder", "alive"),
    [
        (HOLDER, True),
        (replace(HOLDER, began="1"), False),
        (replace(HOLDER, pid=0), False),
        (replace(HOLDER, host="another"), None),
        (replace(HOLDER, boot="another"), None),
    ],
)
def test_a_process_is_judged_by_its_start_time_and_only_on_its_own_host(
    holder: Holder, alive: bool | None
) -> None:
    assert holder.lives_on(HERE) is alive


def test_a_holder_is_read_as_it_was_written() -> None:
    assert HOLDER.pid == os.getpid()
    assert Holder.read(asdict(HOLDER)) == HOLDER
