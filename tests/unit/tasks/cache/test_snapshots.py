"""Which snapshots can be cloned, are wanted, and go."""

from __future__ import annotations

import pytest

from tasks.cache.observe import SnapshotSeen
from tasks.cache.snapshots import superseded
from tests.support.builders import a_model

C, D = "c" * 40, "d" * 40


@pytest.mark.parametrize(
    ("seen", "usable"),
    [
        (SnapshotSeen("s", C), False),
        (SnapshotSeen("s", C, error="no credentials"), False),
        (SnapshotSeen("s", C, cut=True), False),
        (SnapshotSeen("s", C, cut=True, ready=True), True),
        (SnapshotSeen("s", C, cut=True, ready=True, deleting=True), False),
    ],
)
def test_a_snapshot_can_be_cloned_once_it_is_ready_and_stays(seen: SnapshotSeen, usable: bool) -> None:
    assert seen.usable is usable


@pytest.mark.parametrize(
    ("needed", "gone"),
    [({C, D}, []), ({C}, ["of-d"]), (set(), ["of-c", "of-d"])],
)
def test_a_snapshot_goes_once_nothing_needs_its_commit(needed: set[str], gone: list[str]) -> None:
    going = SnapshotSeen("going", "e" * 40, deleting=True)
    assert superseded([SnapshotSeen("of-c", C), SnapshotSeen("of-d", D), going], needed) == gone


@pytest.mark.parametrize(
    ("snapshot", "replicas", "wanted"),
    [("auto", 1, False), ("auto", 2, True), ("always", 1, True), ("never", 2, False)],
)
def test_a_snapshot_is_wanted_where_there_may_be_several_replicas(
    snapshot: str, replicas: int, wanted: bool
) -> None:
    cache, scaling = {"snapshot": snapshot}, {"max_replicas": replicas}
    assert a_model(cache=cache, scaling=scaling).wants_snapshot is wanted
