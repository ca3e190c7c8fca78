"""Leave a cluster: delete claims and wait for their volumes; beside an existing cluster, everything else of ours in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tasks.cloud import objects
from tasks.cloud.kubernetes import Cluster, Object
from tasks.cloud.waiting import REAL, Time, until, until_none
from tasks.records.environment import Environment
from tasks.records.errors import ClusterError
from tasks.records.names import ENVIRONMENT_TAG
from tasks.records.progress import Reporter

CLASSES = (
    ("storage.k8s.io/v1", "StorageClass"),
    ("snapshot.storage.k8s.io/v1", "VolumeSnapshotClass"),
)
CONTENT = ("snapshot.storage.k8s.io/v1", "VolumeSnapshotContent")
CLAIM = ("v1", "PersistentVolumeClaim")
VOLUME = ("v1", "PersistentVolume")


def remove_claims(
    cluster: Cluster, environment: Environment, reporter: Reporter, *, time: Time = REAL
) -> list[str]:
    """Delete the namespace's claims, and wait until the EBS CSI driver has deleted the clones' volumes; the claims' names.

    The driver goes with the cluster, or with its owner's next change: a volume it has not deleted by then stays in EC2.
    Raises ClusterError for a claim that stays, and in an existing cluster for a volume that does.
    """
    namespace, seconds = environment.namespace, environment.deadlines.drain
    names = [objects.name(claim) for claim in cluster.list(*CLAIM, namespace)]
    for name in names:
        cluster.delete(*CLAIM, name, namespace)

    def late(left: Sequence[Object]) -> ClusterError:
        return ClusterError(
            "cache claims did not go away",
            evidence=[objects.name(claim) for claim in left],
            next_command=f"kubectl -n {namespace} describe pvc",
        )

    until_none(lambda: cluster.list(*CLAIM, namespace), seconds, late, time)
    try:
        until_none(
            lambda: [each for each in volumes_of(cluster, namespace) if not is_retained(each)],
            seconds,
            lambda left: _stay(cluster, left),
            time,
        )
    except ClusterError as error:
        if environment.existing.cluster:
            raise
        # a cluster of ours goes all the same: the inventory lists the volumes that it leaves in EC2
        for line in (error.cause, *error.evidence):
            reporter.say(line)
    return names


def leave(cluster: Cluster, environment: Environment, reporter: Reporter, *, time: Time = REAL) -> list[str]:
    """Remove the namespace and the cluster-wide objects of this environment; what was removed, as "KIND NAME".

    The deletion of a snapshot's object would delete it in EC2 too where its policy says so: it is retained first.
    Raises ClusterError where something stays.
    """
    namespace, seconds = environment.namespace, environment.deadlines.drain
    contents = contents_of(cluster, namespace)
    for content in contents:
        cluster.patch(*CONTENT, objects.name(content), {"spec": {"deletionPolicy": "Retain"}})
    removed = []
    if cluster.delete("v1", "Namespace", namespace):
        removed.append(f"Namespace {namespace}")

    def gone() -> bool:
        return cluster.get("v1", "Namespace", namespace) is None

    def late() -> ClusterError:
        return ClusterError(
            f"the namespace {namespace} did not go away",
            next_command=f"kubectl get namespace {namespace} -o yaml",
        )

    until(gone, seconds, late, time)
    volumes = [volume for volume in volumes_of(cluster, namespace) if is_retained(volume)]
    left = [(CONTENT, contents), (VOLUME, volumes)]
    left += [(kind, [c for c in cluster.list(*kind) if is_tagged(c, environment)]) for kind in CLASSES]
    for kind, items in left:
        names = [objects.name(item) for item in items]
        removed += [f"{kind[1]} {name}" for name in names if cluster.delete(*kind, name)]
    # each is held by a finalizer until it is unbound and detached
    until_none(
        lambda: [*contents_of(cluster, namespace), *volumes_of(cluster, namespace)],
        seconds,
        lambda seen: _stay(cluster, seen),
        time,
    )
    for line in removed:
        reporter.say(f"removed {line}")
    return removed


def volumes_of(cluster: Cluster, namespace: str) -> list[Object]:
    """PersistentVolumes made for claims of the namespace."""
    return [volume for volume in cluster.list(*VOLUME) if is_of(volume, "claimRef", namespace)]


def contents_of(cluster: Cluster, namespace: str) -> list[Object]:
    """VolumeSnapshotContents of the namespace's snapshots."""
    return [content for content in cluster.list(*CONTENT) if is_of(content, "volumeSnapshotRef", namespace)]


def _stay(cluster: Cluster, left: Sequence[Object]) -> ClusterError:
    """The error for cluster-wide objects that were deleted and are still there."""
    evidence = []
    for item in left:
        held = ", ".join(item["metadata"].get("finalizers") or ())
        evidence.append(f"{item['kind']} {objects.name(item)}, held by {held or 'no finalizer'}")
        # events of what has no namespace are in this one
        evidence += cluster.events("default", objects.name(item))[-2:]
    first = left[0]
    return ClusterError(
        f"{len(left)} volumes or snapshots did not go away",
        evidence=evidence,
        next_command=f"kubectl describe {first['kind'].lower()} {objects.name(first)}",
    )


def is_of(item: Object, reference: str, namespace: str) -> bool:
    """Whether a cluster-wide object belongs to one of the namespace."""
    ref: dict[str, Any] = objects.spec(item).get(reference) or {}
    return ref.get("namespace") == namespace


def is_retained(volume: Object) -> bool:
    """Whether its EBS volume outlives the object."""
    return objects.spec(volume).get("persistentVolumeReclaimPolicy") == "Retain"


def is_tagged(kind: Object, environment: Environment) -> bool:
    """Whether a class gives what is made with it this environment's tag: then it is ours."""
    wanted = f"{ENVIRONMENT_TAG}={environment.name}"
    return wanted in (kind.get("parameters") or {}).values()
