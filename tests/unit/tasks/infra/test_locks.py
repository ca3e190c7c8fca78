from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import pytest

from tasks.infra.locks import STALE_SECONDS, Decision, decide
from tasks.records.owner import Owner, is_alive, process_began

NOW = 10_000.0
HERE = Owner(host="me", boot="b1", pid=1, pid_began="1", child=0, child_began="", heartbeat=NOW)
PARENT_LIVES = {(7, "70")}
CHILD_LIVES = {(8, "80")}


def owner(**over: Any) -> Owner:
    base = Owner(host="me", boot="b1", pid=7, pid_began="70", child=8, child_began="80", heartbeat=NOW)
    return replace(base, **over)


@pytest.mark.parametrize(
    ("lock_id", "held_by", "living", "decision"),
    [
        (None, None, set(), "free"),
        (None, owner(), PARENT_LIVES, "free"),
        ("L", None, set(), "wait"),  # somebody else's terraform
        ("L", owner(), PARENT_LIVES, "wait"),
        ("L", owner(), CHILD_LIVES, "wait"),  # the run is dead, its terraform still writes
        ("L", owner(), {(7, "71"), (8, "81")}, "break"),  # the process ids came again
        ("L", owner(), set(), "break"),
        ("L", owner(heartbeat=NOW - 1e6), PARENT_LIVES, "wait"),  # here processes tell, not clocks
        ("L", owner(boot="b0"), PARENT_LIVES, "break"),  # this host has booted since
        ("L", owner(host="other"), set(), "wait"),
        ("L", owner(host="other", heartbeat=NOW - STALE_SECONDS), set(), "wait"),
        ("L", owner(host="other", heartbeat=NOW - STALE_SECONDS - 1), set(), "break"),
        ("L", owner(host="other", heartbeat=NOW + 3600), set(), "wait"),  # its clock is ahead
    ],
)
def test_a_lock_is_broken_only_when_its_owner_is_provably_gone(
    lock_id: str | None, held_by: Owner | None, living: set[tuple[int, str]], decision: Decision
) -> None:
    alive = lambda pid, began: (pid, began) in living  # noqa: E731
    assert decide(lock_id, held_by, here=HERE, now=NOW, alive=alive) == decision


def test_a_process_is_known_by_its_id_and_its_start() -> None:
    mine = process_began(os.getpid())
    assert is_alive(os.getpid(), mine)
    assert not is_alive(os.getpid(), mine + "1")
    assert not is_alive(0, "")
