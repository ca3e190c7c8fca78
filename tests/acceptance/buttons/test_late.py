"""Runs that fell due while no worker ran, of which its return starts one, and one whose worker took it and was lost."""

from __future__ import annotations

import pytest

from tests.support.platform import PATIENCE, PENDING_SECONDS, TERMINAL, Platform, eventually

pytestmark = pytest.mark.long

MISSED = 8


def test_of_a_night_of_missed_looks_one_is_made_up_for(platform: Platform) -> None:
    platform.kill("worker")
    missed = [platform.start("idle") for _ in range(MISSED)]
    platform.start_worker()
    eventually(lambda: all(platform.state(run) in TERMINAL for run in missed), "all of them end")
    ended = sorted(platform.state(run) for run in missed)
    assert ended == [*["CANCELLED"] * (MISSED - 1), "COMPLETED"]
    [looked] = [run for run in missed if platform.state(run) == "COMPLETED"]
    assert platform.state_name(looked) == "Nothing to judge"


def test_a_run_that_lost_its_worker_before_it_began_is_given_up(platform: Platform) -> None:
    platform.kill("worker")
    taken = platform.start("idle")
    platform.set_state(taken, "PENDING")
    platform.start_worker()
    assert platform.ended(taken, PENDING_SECONDS + PATIENCE) == "CRASHED"
    assert platform.message(taken).startswith("it did not begin")
