"""Volume snapshots and their contents: what the snapshot-controller does next (external-snapshotter v8, pkg/common-controller).

The driver's own side (taking, checking and deleting the snapshot) is `slipway_sandbox.nodes.ebs.snapshotter`. Not here: group snapshots and default classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from slipway_sandbox.controllers.objects import (
    CLAIMS,
    Object,
    Resource,
    annotations_of,
    is_deleting,
    key_of,
    name_of,
    parse_time,
    status_of,
    timestamp,
    uid_of,
)
from slipway_sandbox.controllers.writes import Create, Decision, Delete, Note, Patch, Write, update_status

GROUP = "snapshot.storage.k8s.io"
SNAPSHOTS = Resource(f"{GROUP}/v1", "volumesnapshots", "VolumeSnapshot")
CONTENTS = Resource(f"{GROUP}/v1", "volumesnapshotcontents", "VolumeSnapshotContent", namespaced=False)
CLASSES = Resource(f"{GROUP}/v1", "volumesnapshotclasses", "VolumeSnapshotClass", namespaced=False)

_PREFIX = "snapshot.storage.kubernetes.io"
AS_SOURCE = f"{_PREFIX}/volumesnapshot-as-source-protection"
BOUND = f"{_PREFIX}/volumesnapshot-bound-protection"
CONTENT_BOUND = f"{_PREFIX}/volumesnapshotcontent-bound-protection"
CLAIM_AS_SOURCE = f"{_PREFIX}/pvc-as-source-protection"
BEING_DELETED = f"{_PREFIX}/volumesnapshot-being-deleted"
_RETRY_SECONDS = 1.0
_UPDATE_FAILED = "snapshot controller failed to update"


@dataclass(frozen=True)
class Surroundings:
    """What a snapshot's next step depends on. `content`: its bound, named or dynamically made one, whoever it points at."""

    content: Object | None = None
    claim: Object | None = None
    volume: Object | None = None
    classes: Sequence[Object] = ()
    restoring: bool = False
    """a claim that is still Pending is being made from the snapshot"""
    claim_is_source: bool = False
    """another snapshot that is not taken yet has the same claim as its source"""


class _Failed(Exception):
    """The snapshot cannot be taken now: the event's reason and the error's message."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason, self.message = reason, message


def source_of(snapshot: Object) -> tuple[str | None, str | None]:
    """(claim's name, content's name), of which one is set."""
    source = snapshot["spec"].get("source") or {}
    return source.get("persistentVolumeClaimName"), source.get("volumeSnapshotContentName")


def content_name(snapshot: Object) -> str:
    """The content a snapshot has or will have."""
    _, named = source_of(snapshot)
    bound = status_of(snapshot).get("boundVolumeSnapshotContentName")
    return str(named or bound or f"snapcontent-{uid_of(snapshot)}")


def refers_to(content: Object, snapshot: Object) -> bool:
    reference = content["spec"]["volumeSnapshotRef"]
    return bool(
        (reference.get("namespace"), reference.get("name")) == key_of(snapshot)
        and reference.get("uid") == uid_of(snapshot)
    )


def is_taken(snapshot: Object) -> bool:
    """The point in time is fixed: the source may change or go again."""
    status = status_of(snapshot)
    return bool(status.get("creationTime")) and bool(status.get("boundVolumeSnapshotContentName"))


def is_restored_to(claim: Object, snapshot: Object) -> bool:
    """The claim is still being made from the snapshot."""
    source = claim["spec"].get("dataSource") or {}
    same = claim["metadata"]["namespace"] == snapshot["metadata"]["namespace"]
    named = (source.get("apiGroup"), source.get("kind"), source.get("name"))
    pending = status_of(claim).get("phase") == "Pending"
    return same and named == (GROUP, "VolumeSnapshot", name_of(snapshot)) and pending


def decide_snapshot(snapshot: Object, around: Surroundings, now: datetime) -> Decision:
    """The next step of a VolumeSnapshot."""
    decision = Decision(_free_claim(snapshot, around))
    if is_deleting(snapshot):
        return _end(snapshot, around, decision)
    claim, named = source_of(snapshot)
    if (claim is None) == (named is None):
        message = "Exactly one of PersistentVolumeClaimName and VolumeSnapshotContentName should be specified"
        decision.writes += _error(snapshot, "SnapshotValidationError", message, now)
        return decision
    finalizers = _finalizers_wanted(snapshot)
    if finalizers is not None:
        decision.writes.append(Patch(SNAPSHOTS, snapshot, {"metadata": finalizers}))
        return decision
    try:
        decision.writes += _bind_named(snapshot, around) if named else _take(snapshot, around)
    except _Failed as failed:
        decision.writes += _error(snapshot, failed.reason, failed.message, now)
        decision.again(_RETRY_SECONDS)
    return decision


def _finalizers_wanted(snapshot: Object) -> Object | None:
    """The metadata to write; None where every finalizer is there."""
    present = snapshot["metadata"].get("finalizers") or []
    wanted = [AS_SOURCE]
    if status_of(snapshot).get("boundVolumeSnapshotContentName"):
        wanted.append(BOUND)
    missing = [name for name in wanted if name not in present]
    if not missing:
        return None
    return {"finalizers": [*present, *missing], "resourceVersion": _version(snapshot)}


def _version(item: Object) -> Any:
    return item["metadata"].get("resourceVersion")


# --- a snapshot of a claim


def _take(snapshot: Object, around: Surroundings) -> list[Write]:
    content = around.content
    if content is not None:
        if not refers_to(content, snapshot):
            raise _Failed("SnapshotContentMisbound", _misbound(content))
        return _follow(snapshot, content)
    if status_of(snapshot).get("readyToUse"):
        raise _Failed("SnapshotContentMissing", "VolumeSnapshotContent is missing")
    claim, volume, chosen = _inputs(snapshot, around)
    writes: list[Write] = []
    if CLAIM_AS_SOURCE not in (claim["metadata"].get("finalizers") or []):
        kept = [*(claim["metadata"].get("finalizers") or []), CLAIM_AS_SOURCE]
        writes.append(
            Patch(CLAIMS, claim, {"metadata": {"finalizers": kept, "resourceVersion": _version(claim)}})
        )
    writes.append(Create(CONTENTS, _content(snapshot, volume, chosen)))
    message = f"Waiting for a snapshot {_key(snapshot)} to be created by the CSI driver."
    return [*writes, _note(snapshot, "CreatingSnapshot", message)]


def _misbound(content: Object) -> str:
    reference = content["spec"]["volumeSnapshotRef"]
    return (
        f"VolumeSnapshotContent [{name_of(content)}] is bound to a different snapshot "
        f"{reference.get('namespace')}/{reference.get('name')}"
    )


def _inputs(snapshot: Object, around: Surroundings) -> tuple[Object, Object, Object]:
    """(claim, its volume, the class) to take a snapshot with. Raises _Failed."""

    def failed(why: str) -> _Failed:
        return _Failed("SnapshotContentCreationFailed", f"Failed to create snapshot content with error {why}")

    def input_failed(why: str) -> _Failed:
        return failed(f'failed to get input parameters to create snapshot {name_of(snapshot)}: "{why}"')

    claim, volume = around.claim, around.volume
    if claim is None:
        name = name_of(snapshot)
        raise failed(f"{_UPDATE_FAILED} {name} on API server: cannot get claim from snapshot")
    if is_deleting(claim) and CLAIM_AS_SOURCE not in (claim["metadata"].get("finalizers") or []):
        why = "cannot add finalizer on claim because it is being deleted"
        raise failed(f"{_UPDATE_FAILED} {name_of(claim)} on API server: {why}")
    class_name = snapshot["spec"].get("volumeSnapshotClassName")
    chosen = next((c for c in around.classes if name_of(c) == class_name), None)
    if chosen is None:
        found = f'volumesnapshotclass.{GROUP} \\"{class_name}\\" not found'
        raise input_failed(found)
    if volume is None:
        raise input_failed(
            f"the PVC {name_of(claim)} is not yet bound to a PV, will not attempt to take a snapshot"
        )
    if not volume["spec"].get("csi"):
        raise failed(f"cannot find CSI PersistentVolumeSource for volume {name_of(volume)}")
    return claim, volume, chosen


def _content(snapshot: Object, volume: Object, chosen: Object) -> Object:
    namespace, name = key_of(snapshot)
    return {
        "metadata": {"name": content_name(snapshot), "finalizers": [CONTENT_BOUND]},
        "spec": {
            "deletionPolicy": chosen["deletionPolicy"],
            "driver": chosen["driver"],
            "source": {"volumeHandle": volume["spec"]["csi"]["volumeHandle"]},
            "sourceVolumeMode": volume["spec"].get("volumeMode") or "Filesystem",
            "volumeSnapshotClassName": name_of(chosen),
            "volumeSnapshotRef": {
                "apiVersion": SNAPSHOTS.api,
                "kind": SNAPSHOTS.kind,
                "namespace": namespace,
                "name": name,
                "uid": uid_of(snapshot),
                "resourceVersion": _version(snapshot),
            },
        },
    }


# --- a snapshot that was there before


def _bind_named(snapshot: Object, around: Surroundings) -> list[Write]:
    """A pre-provisioned content is bound where it names this snapshot. Raises _Failed."""
    content = around.content
    if content is None:
        raise _Failed("SnapshotContentMissing", "VolumeSnapshotContent is missing")
    if "snapshotHandle" not in content["spec"]["source"]:
        raise _Failed(
            "SnapshotContentMismatch",
            "VolumeSnapshotContent is dynamically provisioned while expecting a pre-provisioned one",
        )
    reference = content["spec"]["volumeSnapshotRef"]
    if (reference.get("namespace"), reference.get("name")) != key_of(snapshot) or reference.get(
        "uid"
    ) not in (None, "", uid_of(snapshot)):
        raise _Failed("SnapshotContentMisbound", _misbound(content))
    if not reference.get("uid"):
        return [Patch(CONTENTS, content, {"spec": {"volumeSnapshotRef": {"uid": uid_of(snapshot)}}})]
    return _follow(snapshot, content)


# --- status


def _follow(snapshot: Object, content: Object) -> list[Write]:
    """The snapshot's status says what its content's does; events tell of the two steps."""
    old, known = status_of(snapshot), status_of(content)
    status: Object = {
        **old,
        "boundVolumeSnapshotContentName": name_of(content),
        "readyToUse": bool(known.get("readyToUse")),
        "error": known.get("error"),
    }
    if "creationTime" not in old and known.get("creationTime") is not None:
        status["creationTime"] = _moment(known["creationTime"])
    if "restoreSize" not in old and known.get("restoreSize") is not None:
        status["restoreSize"] = binary_size(int(known["restoreSize"]))
    writes = update_status(SNAPSHOTS, snapshot, status)
    if writes and "creationTime" in status and "creationTime" not in old:
        message = f"Snapshot {_key(snapshot)} was successfully created by the CSI driver."
        writes.append(_note(snapshot, "SnapshotCreated", message))
    if writes and status["readyToUse"] and not old.get("readyToUse"):
        writes.append(_note(snapshot, "SnapshotReady", f"Snapshot {_key(snapshot)} is ready to use."))
    return writes


def _moment(nanoseconds: int) -> str:
    return timestamp(datetime.fromtimestamp(nanoseconds // 10**9, parse_time("1970-01-01T00:00:00Z").tzinfo))


def binary_size(size: int) -> str:
    """Bytes as resource.Quantity writes them in its binary form: 5368709120 is 5Gi."""
    for power, suffix in ((40, "Ti"), (30, "Gi"), (20, "Mi"), (10, "Ki")):
        if size and size % 2**power == 0:
            return f"{size >> power}{suffix}"
    return str(size)


def _error(snapshot: Object, reason: str, message: str, now: datetime) -> list[Write]:
    """The error in the status and an event, both once for the same words."""
    status = status_of(snapshot)
    if (status.get("error") or {}).get("message") == message:
        return []
    error = {"message": message, "time": timestamp(now)}
    writes = update_status(SNAPSHOTS, snapshot, {**status, "error": error, "readyToUse": False})
    return [*writes, _note(snapshot, reason, message, warning=True)]


# --- the end


def _end(snapshot: Object, around: Surroundings, decision: Decision) -> Decision:
    """Finalizers go when nothing restores from the snapshot and, under Delete, its content has gone."""
    present = snapshot["metadata"].get("finalizers") or []
    if not {AS_SOURCE, BOUND} & set(present):
        return decision
    content = around.content
    if content is not None and not refers_to(content, snapshot):
        content = None
    if content is not None and around.restoring:
        message = "Snapshot is being used to restore a PVC"
        decision.writes.append(_note(snapshot, "SnapshotDeletePending", message, warning=True))
        decision.again(_RETRY_SECONDS)
        return decision
    deletes = content is not None and content["spec"]["deletionPolicy"] == "Delete"
    if content is not None and BEING_DELETED not in annotations_of(content):
        decision.writes.append(
            Patch(CONTENTS, content, {"metadata": {"annotations": {BEING_DELETED: "yes"}}})
        )
    if content is not None and deletes and not is_deleting(content):
        decision.writes.append(Delete(CONTENTS, content))
    gone = {AS_SOURCE} if deletes else {AS_SOURCE, BOUND}
    kept = [name for name in present if name not in gone]
    if kept != present:
        body = {"metadata": {"finalizers": kept, "resourceVersion": _version(snapshot)}}
        decision.writes.append(Patch(SNAPSHOTS, snapshot, body))
    return decision


def _free_claim(snapshot: Object, around: Surroundings) -> list[Write]:
    """The source claim may go once no snapshot is still being taken of it."""
    claim = around.claim
    waits = not is_taken(snapshot) and not is_deleting(snapshot)
    if claim is None or waits or around.claim_is_source:
        return []
    present = claim["metadata"].get("finalizers") or []
    if CLAIM_AS_SOURCE not in present:
        return []
    kept = [name for name in present if name != CLAIM_AS_SOURCE]
    return [Patch(CLAIMS, claim, {"metadata": {"finalizers": kept, "resourceVersion": _version(claim)}})]


def waits_for_claim(snapshot: Object, claim: str, others: Iterable[Object]) -> bool:
    """Another snapshot than this one is still to be taken of the claim."""
    return any(
        uid_of(other) != uid_of(snapshot)
        and source_of(other)[0] == claim
        and not is_taken(other)
        and not is_deleting(other)
        for other in others
    )


def decide_content(content: Object) -> Decision:
    """A content that is bound keeps its finalizer until its snapshot's end was seen to."""
    source = content["spec"].get("source") or {}
    if ("volumeHandle" in source) == ("snapshotHandle" in source):
        message = "Exactly one of VolumeHandle and SnapshotHandle should be specified"
        return Decision([Note(content, CONTENTS.kind, "ContentValidationError", message, warning=True)])
    present = content["metadata"].get("finalizers") or []
    bound = content["spec"]["volumeSnapshotRef"].get("uid")
    if not bound or is_deleting(content) or CONTENT_BOUND in present:
        return Decision()
    body = {"finalizers": [*present, CONTENT_BOUND], "resourceVersion": _version(content)}
    return Decision([Patch(CONTENTS, content, {"metadata": body})])


def _key(snapshot: Object) -> str:
    return "/".join(key_of(snapshot))


def _note(snapshot: Object, reason: str, message: str, *, warning: bool = False) -> Note:
    return Note(snapshot, SNAPSHOTS.kind, reason, message, warning)
