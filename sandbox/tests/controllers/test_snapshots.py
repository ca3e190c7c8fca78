"""The snapshot-controller's decisions, as tables."""

from __future__ import annotations

from typing import Any

import pytest

from slipway_sandbox.controllers.objects import Object
from slipway_sandbox.controllers.snapshots import (
    AS_SOURCE,
    BEING_DELETED,
    BOUND,
    CLAIM_AS_SOURCE,
    CONTENT_BOUND,
    CONTENTS,
    SNAPSHOTS,
    Surroundings,
    binary_size,
    decide_content,
    decide_snapshot,
)
from slipway_sandbox.controllers.writes import Create, Delete, Note, Patch, Update, Write
from tests.controllers.builders import NOW, claim, meta, volume

GIB = 2**30
CLASS = {"metadata": {"name": "fast"}, "driver": "ebs.csi.aws.com", "deletionPolicy": "Delete"}
VOLUME = volume("pv", "5Gi", csi={"driver": "ebs.csi.aws.com", "volumeHandle": "vol-1"})


def snapshot(status: Object | None = None, going: bool = False, **spec: Any) -> Object:
    metadata = meta("s", finalizers=[AS_SOURCE, *([BOUND] if status else [])])
    if going:
        metadata["deletionTimestamp"] = "2030-01-01T00:00:00Z"
    base = {"source": {"persistentVolumeClaimName": "data"}, "volumeSnapshotClassName": "fast"}
    return {"metadata": metadata, "spec": base | spec, **({"status": status} if status else {})}


def content(uid: str = "uid-s", policy: str = "Delete", **status: Any) -> Object:
    return {
        "metadata": {"name": "snapcontent-uid-s", "uid": "c", "finalizers": [CONTENT_BOUND]},
        "spec": {
            "deletionPolicy": policy,
            "driver": "ebs.csi.aws.com",
            "source": {"volumeHandle": "vol-1"},
            "volumeSnapshotRef": {"namespace": "default", "name": "s", "uid": uid},
        },
        **({"status": status} if status else {}),
    }


def decided(item: Object, **around: Any) -> list[Write]:
    known = {"claim": claim(), "volume": VOLUME, "classes": [CLASS]} | around
    return decide_snapshot(item, Surroundings(**known), NOW).writes


def test_a_content_is_made_for_the_claims_volume_while_the_claim_is_held() -> None:
    hold, create, note = decided(snapshot())
    assert isinstance(hold, Patch)
    assert CLAIM_AS_SOURCE in hold.body["metadata"]["finalizers"]
    assert isinstance(create, Create)
    assert (create.resource, create.body["metadata"]["name"]) == (CONTENTS, "snapcontent-uid-s")
    assert create.body["spec"]["source"] == {"volumeHandle": "vol-1"}
    assert create.body["spec"]["volumeSnapshotRef"]["uid"] == "uid-s"
    assert isinstance(note, Note)
    assert note.reason == "CreatingSnapshot"


ERRORS: list[tuple[str, Object, dict[str, Any], str]] = [
    (
        "SnapshotContentCreationFailed",
        snapshot(),
        {"claim": None, "volume": None},
        "Failed to create snapshot content with error snapshot controller failed to update s on API server: "
        "cannot get claim from snapshot",
    ),
    (
        "SnapshotContentCreationFailed",
        snapshot(volumeSnapshotClassName="other"),
        {},
        "Failed to create snapshot content with error failed to get input parameters to create snapshot s: "
        '"volumesnapshotclass.snapshot.storage.k8s.io \\"other\\" not found"',
    ),
    (
        "SnapshotContentMissing",
        snapshot(source={"volumeSnapshotContentName": "gone"}),
        {},
        "VolumeSnapshotContent is missing",
    ),
    (
        "SnapshotContentMisbound",
        snapshot(),
        {"content": content("another")},
        "VolumeSnapshotContent [snapcontent-uid-s] is bound to a different snapshot default/s",
    ),
    (
        "SnapshotValidationError",
        snapshot(source={}),
        {},
        "Exactly one of PersistentVolumeClaimName and VolumeSnapshotContentName should be specified",
    ),
]


@pytest.mark.parametrize(("reason", "item", "around", "message"), ERRORS)
def test_what_cannot_be_taken_says_so_in_the_status_and_an_event_once(
    reason: str, item: Object, around: dict[str, Any], message: str
) -> None:
    status, note = decided(item, **around)
    assert isinstance(status, Update)
    assert (status.resource, status.sub) == (SNAPSHOTS, "status")
    assert status.body["status"]["error"]["message"] == message
    assert status.body["status"]["readyToUse"] is False
    assert isinstance(note, Note)
    assert (note.reason, note.message, note.warning) == (reason, message, True)
    again = item | {"status": status.body["status"]}
    again["metadata"] = again["metadata"] | {"finalizers": [AS_SOURCE, BOUND]}
    assert decided(again, **around) == []


def test_a_ready_snapshot_whose_content_went_says_so_and_is_then_taken_anew() -> None:
    ready = {"boundVolumeSnapshotContentName": "c", "readyToUse": True, "creationTime": "x"}
    status, note = decided(snapshot(ready))
    assert isinstance(note, Note)
    assert note.reason == "SnapshotContentMissing"
    assert isinstance(status, Update)
    assert any(isinstance(write, Create) for write in decided(snapshot(status.body["status"])))


def test_the_status_follows_the_contents() -> None:
    taken = content(snapshotHandle="snap-1", creationTime=10**18, restoreSize=5 * GIB, readyToUse=True)
    status, created, ready = decided(snapshot(), content=taken)
    assert isinstance(status, Update)
    assert status.body["status"] == {
        "boundVolumeSnapshotContentName": "snapcontent-uid-s",
        "creationTime": "2001-09-09T01:46:40Z",
        "readyToUse": True,
        "restoreSize": "5Gi",
    }
    assert [w.reason for w in (created, ready) if isinstance(w, Note)] == ["SnapshotCreated", "SnapshotReady"]


def test_a_claim_is_let_go_once_its_snapshot_is_taken() -> None:
    held = claim()
    held["metadata"]["finalizers"].append(CLAIM_AS_SOURCE)
    taken = snapshot(
        {
            "boundVolumeSnapshotContentName": "snapcontent-uid-s",
            "creationTime": "2030-01-01T00:00:00Z",
            "readyToUse": False,
        }
    )
    first = decided(taken, claim=held, content=content(readyToUse=False))[0]
    assert isinstance(first, Patch)
    assert first.body["metadata"]["finalizers"] == ["kubernetes.io/pvc-protection"]
    assert decided(taken, claim=held, content=content(), claim_is_source=True) == []


@pytest.mark.parametrize(
    ("policy", "kinds", "kept"),
    [("Delete", [Patch, Delete, Patch], [BOUND]), ("Retain", [Patch, Patch], [])],
)
def test_a_snapshot_goes_after_its_content_or_leaves_it_behind(
    policy: str, kinds: list[type], kept: list[str]
) -> None:
    bound = {"boundVolumeSnapshotContentName": "snapcontent-uid-s", "readyToUse": True, "creationTime": "x"}
    writes = decided(snapshot(bound, going=True), content=content(policy=policy, readyToUse=True))
    assert [type(write) for write in writes] == kinds
    assert isinstance(writes[0], Patch)
    assert writes[0].body["metadata"]["annotations"] == {BEING_DELETED: "yes"}
    assert isinstance(writes[-1], Patch)
    assert writes[-1].body["metadata"]["finalizers"] == kept


def test_a_snapshot_that_a_claim_is_being_made_from_stays() -> None:
    [note] = decided(snapshot(going=True), content=content(), restoring=True)
    assert isinstance(note, Note)
    assert note.reason == "SnapshotDeletePending"


def test_a_content_that_is_bound_is_protected() -> None:
    bare = content()
    bare["metadata"]["finalizers"] = []
    [write] = decide_content(bare).writes
    assert isinstance(write, Patch)
    assert write.body["metadata"]["finalizers"] == [CONTENT_BOUND]
    assert decide_content(content()).writes == []


@pytest.mark.parametrize(("size", "text"), [(5 * GIB, "5Gi"), (1536 * 2**20, "1536Mi"), (1001, "1001")])
def test_a_size_is_written_as_a_quantity(size: int, text: str) -> None:
    assert binary_size(size) == text
