"""What is there now: the claim, its volume, the job and its pods, snapshots; and what the job's log says."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from tasks.cache.context import HELD, MANIFEST, WARM, WARM_MANIFEST, Context
from tasks.cache.decide import ClaimSeen, JobSeen, JobState, Phase
from tasks.cloud import objects
from tasks.cloud.kubernetes import Cluster, Object
from tasks.cloud.node_affinity import ZONE, zone_of_volume
from tasks.records.model import Model
from tasks.records.names import CACHE, COMMIT_KEY, cache_selector
from tasks.records.quantities import parse_quantity

SNAPSHOT_API = "snapshot.storage.k8s.io/v1"
SNAPSHOT_KINDS = ("volumesnapshots", "volumesnapshotclasses", "volumesnapshotcontents")
_SERVED = re.compile(r"/models/[^/\"]+/([0-9a-f]{40})")
_LINE = re.compile(r"^SLIPWAY (\{.*\})$", re.MULTILINE)


@dataclass(frozen=True)
class Seen:
    """One look. `volume`: the PersistentVolume the claim is bound to; `pods`: the job's, oldest first."""

    claim: Object | None
    volume: Object | None
    job: Object | None
    pods: tuple[Object, ...]

    @property
    def pod(self) -> Object | None:
        """The newest pod of the job."""
        return self.pods[-1] if self.pods else None

    @property
    def held(self) -> dict[str, int]:
        """Bytes of every commit on the volume, as the claim's annotation has them."""
        found: dict[str, int] = json.loads(objects.annotations(self.claim).get(HELD, "{}"))
        return found


def look(context: Context) -> Seen:
    """Read the claim, its volume, the job and its pods. Raises ClusterError."""
    cluster, namespace = context.cluster, context.namespace
    claim = cluster.get("v1", "PersistentVolumeClaim", context.claim, namespace)
    volume = objects.spec(claim).get("volumeName")
    job = cluster.get("batch/v1", "Job", context.job, namespace)
    pods = cluster.list("v1", "Pod", namespace, label_selector=f"job-name={context.job}") if job else []
    return Seen(
        claim=claim,
        volume=cluster.get("v1", "PersistentVolume", volume) if volume else None,
        job=job,
        pods=tuple(sorted(pods, key=lambda pod: str(pod["metadata"].get("creationTimestamp", "")))),
    )


def claim_seen(seen: Seen, classes: Collection[str] = ()) -> ClaimSeen | None:
    """What `decide` needs of the claim. `classes`: those a new claim could get; none for any."""
    claim, volume = seen.claim, seen.volume
    if claim is None:
        return None
    annotations, spec = objects.annotations(claim), claim["spec"]
    return ClaimSeen(
        phase=objects.status(claim).get("phase", "Pending"),
        requested_bytes=int(parse_quantity(spec["resources"]["requests"]["storage"])),
        warm_commit=annotations.get(WARM),
        warm_manifest=annotations.get(WARM_MANIFEST),
        deleting=objects.is_terminating(claim),
        names_volume=bool(spec.get("volumeName")),
        other_class=bool(classes) and spec.get("storageClassName") not in classes,
        volume_bytes=int(parse_quantity(volume["spec"]["capacity"]["storage"])) if volume else None,
    )


def file_system_lags(seen: Seen) -> bool:
    """Whether the volume is larger than its file system, which kubelet grows at a mount, or soon where it is mounted."""
    has = objects.status(seen.claim).get("capacity", {}).get("storage")
    if seen.volume is None or has is None:
        return False
    return parse_quantity(has) < parse_quantity(seen.volume["spec"]["capacity"]["storage"])


def job_seen(seen: Seen, watched: Collection[str]) -> JobSeen | None:
    """What `decide` needs of the job. `watched`: uids of the jobs this run started or saw running."""
    job = seen.job
    if job is None:
        return None
    return JobSeen(
        state=job_state(job),
        manifest=objects.annotations(job).get(MANIFEST),
        deleting=objects.is_terminating(job),
        watched=job["metadata"]["uid"] in watched,
        hopeless=is_hopeless(seen),
    )


def job_state(job: Object) -> JobState:
    if objects.holds(job, "Complete"):
        return "succeeded"
    return "failed" if objects.holds(job, "Failed") else "running"


def is_hopeless(seen: Seen) -> bool:
    """Whether the newest pod ended with a code after which the job's controller does not try again."""
    ended = exit_of(seen.pod) if seen.pod else None
    return ended is not None and ended[0] in permanent_codes(seen.job)


def permanent_codes(job: Object | None) -> set[int]:
    """Exit codes that fail the job at once, by its podFailurePolicy."""
    rules = objects.spec(job).get("podFailurePolicy", {}).get("rules") or ()
    return {code for rule in rules for code in rule.get("onExitCodes", {}).get("values") or ()}


def users_of(pods: Sequence[Object], claim: str) -> list[Object]:
    """Living pods on a node that mount the claim, but for those of warm jobs."""
    return [
        pod
        for pod in objects.living(pods)
        if objects.node_of(pod)
        and objects.labels(pod).get("app") != CACHE
        and any(
            volume.get("persistentVolumeClaim", {}).get("claimName") == claim
            for volume in pod["spec"].get("volumes") or ()
        )
    ]


def served_commits(workloads: Sequence[Object]) -> set[str]:
    """Commits that pods or Deployments read, also one scaled to nothing: vLLM's arguments name the folder."""
    return {commit for each in workloads for commit in _SERVED.findall(json.dumps(each["spec"]))}


def pod_phase(pod: Object | None, claim: Object | None, *, node_is_lost: bool = False) -> Phase:
    """What the newest pod of the job waits for."""
    if pod is None:
        return "creating"
    if node_is_lost and exit_of(pod) is None:
        return "lost"
    if not objects.node_of(pod):
        # The scheduler names a node on the claim first and binds the pod when the volume is there.
        chosen = "volume.kubernetes.io/selected-node" in objects.annotations(claim)
        bound = objects.status(claim).get("phase") == "Bound"
        return "volume" if chosen and not bound else "scheduling"
    states = [each.get("state", {}) for each in objects.container_statuses(pod)]
    return "running" if states and states[0].keys() & {"running", "terminated"} else "starting"


def waiting_reason(pod: Object) -> tuple[str, str] | None:
    """(reason, message) of a container that waits, such as ImagePullBackOff."""
    for status in objects.container_statuses(pod):
        waiting = status.get("state", {}).get("waiting")
        if waiting and waiting.get("reason"):
            return str(waiting["reason"]), str(waiting.get("message", ""))
    return None


def exit_of(pod: Object) -> tuple[int, str] | None:
    """(exit code, reason) of a container that ended, such as (137, "OOMKilled")."""
    for status in objects.container_statuses(pod):
        ended = status.get("state", {}).get("terminated")
        if ended:
            return int(ended["exitCode"]), str(ended.get("reason", ""))
    return None


def ebs_of(volume: Object) -> tuple[str, str]:
    """(EBS volume id, zone) of a PersistentVolume; the zone is empty where it can be attached anywhere."""
    return str(volume["spec"].get("csi", {}).get("volumeHandle", "")), zone_of_volume(volume)


def zones_of(nodes: Sequence[Object]) -> set[str]:
    return {objects.labels(node).get(ZONE, "") for node in nodes}


def other_zones(zone: str, nodes: Sequence[Object]) -> list[str]:
    """The zones of nodes none of which is in `zone`; none where one is, or where there is no node."""
    zones = zones_of(nodes)
    return sorted(zones) if zone and zone not in zones else []


@dataclass(frozen=True)
class JobLog:
    """The job's own lines: the newest progress (bytes done, of), its error, its end, each file, and other notes."""

    progress: tuple[int, int] | None = None
    error: Object | None = None
    done: Object | None = None
    files: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def read_log(log: str) -> JobLog:
    """Parse the `SLIPWAY {...}` lines that k8s/cache/warmer/report.py prints; a line cut off in the middle is skipped."""
    newest: dict[str, Object] = {}
    files: list[str] = []
    notes: list[str] = []
    for text in _LINE.findall(log):
        try:
            line = json.loads(text)
        except ValueError:
            continue
        newest[line.get("event")] = line
        if line.get("event") == "file":
            files.append(
                f"{line['path']}: {line['size']} bytes, written {line['written']}, proven by {line['proof']}"
            )
        elif line.get("event") == "note":
            notes.append(line["text"])
    progress = newest.get("progress")
    return JobLog(
        progress=(progress["done"], progress["total"]) if progress else None,
        error=newest.get("error"),
        done=newest.get("done"),
        files=tuple(files),
        notes=tuple(notes),
    )


@dataclass(frozen=True)
class SnapshotSeen:
    """A VolumeSnapshot as found. `cut`: its point in time is fixed; `size`: the least a clone may have; `error`: its
    controller's last word; `content`: the object that knows its EC2 id; `adopted`: an earlier cluster made it."""

    name: str
    commit: str
    ready: bool = False
    cut: bool = False
    deleting: bool = False
    size: str = ""
    error: str = ""
    content: str = ""
    adopted: bool = False

    @property
    def usable(self) -> bool:
        return self.ready and not self.deleting


def snapshot_seen(document: Object) -> SnapshotSeen:
    status = objects.status(document)
    adopted = "volumeSnapshotContentName" in document["spec"]["source"]
    return SnapshotSeen(
        name=objects.name(document),
        commit=objects.labels(document).get(COMMIT_KEY, ""),
        ready=bool(status.get("readyToUse")),
        cut=adopted or bool(status.get("creationTime")),
        deleting=objects.is_terminating(document),
        size=str(status.get("restoreSize") or ""),
        error=str((status.get("error") or {}).get("message") or ""),
        content=str(status.get("boundVolumeSnapshotContentName") or ""),
        adopted=adopted,
    )


def snapshots_of(cluster: Cluster, model: Model, namespace: str) -> list[SnapshotSeen]:
    """All of the model's, by their labels; none where the cluster does not know the kind."""
    found = cluster.list(SNAPSHOT_API, "VolumeSnapshot", namespace, label_selector=cache_selector(model))
    return [snapshot_seen(document) for document in found]


def missing_definitions(cluster: Cluster) -> list[str]:
    """The CustomResourceDefinitions of snapshots that the cluster does not have."""
    names = [f"{kind}.{SNAPSHOT_API.partition('/')[0]}" for kind in SNAPSHOT_KINDS]
    kind = ("apiextensions.k8s.io/v1", "CustomResourceDefinition")
    return [name for name in names if not cluster.get(*kind, name)]
