"""Runs that fell due while no worker ran: its return starts one of them."""

from __future__ import annotations

import pytest

from tests.support.platform import TERMINAL, Platform, eventually

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
