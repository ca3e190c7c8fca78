"""Which volumes and snapshots of earlier clusters are taken up, which are only named, and which are left to settle."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tasks.cache.adoption import known, unsettled
from tasks.cache.kept import KeptSnapshot, KeptVolume, choose, known_elsewhere, newest_of, sort
from tasks.cache.observe import SnapshotSeen

OURS, OTHER = "a" * 64, "b" * 64
C, D = "c" * 40, "d" * 40
NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)


def snap(identity: str, commit: str = C, manifest: str = OURS, hour: int = 0) -> KeptSnapshot:
    return KeptSnapshot(identity, "acme/small", commit, manifest, 3, NOON.replace(hour=hour))


@pytest.mark.parametrize(
    ("found", "known", "needed", "taken_up", "spare"),
    [
        ([], set(), {C}, [], []),
        ([snap("s1")], set(), {C}, ["s1"], []),
        ([snap("s1")], {"s1"}, {C}, [], []),
        ([snap("s1")], set(), {D}, [], ["s1"]),
        ([snap("s1")], set(), set(), [], ["s1"]),
        ([snap("s1", hour=1), snap("s2", hour=2)], set(), {C}, ["s2"], ["s1"]),
        ([snap("s1", hour=1), snap("s2", hour=2)], {"s1"}, {C}, [], ["s2"]),
        ([snap("s1"), snap("s2", manifest=OTHER)], set(), {C}, ["s1", "s2"], []),
        ([snap("s1"), snap("s2", D)], set(), {C, D}, ["s1", "s2"], []),
    ],
)
def test_kept_snapshots_are_taken_up_where_their_commit_is_needed_and_else_named(
    found: list[KeptSnapshot], known: set[str], needed: set[str], taken_up: list[str], spare: list[str]
) -> None:
    got = sort(found, known=known, needed=needed)
    assert [[each.identity for each in part] for part in got] == [taken_up, spare]


def test_a_claim_is_made_of_the_newest_snapshot_of_its_very_files() -> None:
    found = [
        snap("s1", hour=1),
        snap("s2", hour=2),
        snap("s3", manifest=OTHER, hour=3),
        snap("s4", D, hour=4),
    ]
    newest = newest_of(found, C, OURS)
    assert newest is not None
    assert newest.identity == "s2"
    assert newest_of(found, D, OTHER) is None


def content(
    handle: str = "", of: str = "s", deleting: bool = False, preprovisioned: bool = False
) -> dict[str, object]:
    source = {"snapshotHandle": handle} if preprovisioned else {"volumeHandle": "vol-1"}
    return {
        "metadata": {"deletionTimestamp": "2026-11-01T12:00:00Z"} if deleting else {},
        "spec": {"source": source, "volumeSnapshotRef": {"name": of}},
        "status": {} if preprovisioned or not handle else {"snapshotHandle": handle},
    }


def test_a_content_without_its_snapshot_is_not_known_and_one_that_settles_is_left_alone() -> None:
    contents = [content("snap-1", "a"), content("snap-2", "b", preprovisioned=True), content(of="c")]
    assert known(contents, {"a", "c"}) == {"snap-1", ""}
    assert unsettled(contents, []) == {"c"}
    going = [content("snap-1", "a", deleting=True)]
    seen = [SnapshotSeen("a", C, content="x"), SnapshotSeen("b", C), SnapshotSeen("d", C, adopted=True)]
    assert unsettled(going, seen) == {"snap-1", "b"}


def kept(identity: str, zone: str = "a", day: int = 1) -> KeptVolume:
    return KeptVolume(identity, zone, 20, 3000, 125, datetime(2026, 1, day, tzinfo=UTC))


@pytest.mark.parametrize(
    ("found", "known", "chosen"),
    [
        ([], set(), None),
        ([kept("v1")], set(), "v1"),
        ([kept("v1", "b")], set(), None),
        ([kept("v1")], {"v1"}, None),
        ([kept("v1", day=2), kept("v2", day=3), kept("v3", "b", day=4)], set(), "v2"),
        ([kept("v1", day=2), kept("v2", day=3)], {"v2"}, "v1"),
    ],
)
def test_the_newest_kept_volume_in_reach_is_taken_up(
    found: list[KeptVolume], known: set[str], chosen: str | None
) -> None:
    volume = choose(found, zones={"a"}, known=known)
    assert (volume.identity if volume else None) == chosen


@pytest.mark.parametrize(
    ("claim", "phase", "spoken_for"),
    [
        (None, "Available", True),
        ({"namespace": "llm", "name": "c"}, "Available", False),
        ({"namespace": "llm", "name": "c"}, "Released", True),
        ({"namespace": "llm", "name": "d"}, "Available", True),
    ],
)
def test_a_volume_the_cluster_knows_is_taken_up_only_where_it_waits_for_this_claim(
    claim: dict[str, str] | None, phase: str, spoken_for: bool
) -> None:
    spec = {"csi": {"volumeHandle": "v1"}} | ({"claimRef": claim} if claim else {})
    volume = {"spec": spec, "status": {"phase": phase}}
    assert known_elsewhere([volume], "llm", "c") == ({"v1"} if spoken_for else set())
