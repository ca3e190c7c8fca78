"""What is there now: the claim, the job, its pod, who else has the volume, and what the job says of itself."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from tasks.cache.decide import ClaimSeen, JobSeen, JobState
from tasks.cache.manifests import MANIFEST, WARM, WARM_MANIFEST
from tasks.records.quantities import parse_quantity

Object = dict[str, Any]
Objects = list[Object]
Lines = list[str]
ZONE = "topology.kubernetes.io/zone"
_SERVED = re.compile(r"/models/[^/\"]+/([0-9a-f]{40})")
_LINE = re.compile(r"^SLIPWAY (\{.*\})$", re.MULTILINE)


class ClusterVerbs(Protocol):
    """What warming uses of tasks.cloud.kubernetes.Cluster."""

    def apply(self, document: Object, *, field_manager: str = ..., force: bool = ...) -> Object: ...
    def get(self, api_version: str, kind: str, name: str, namespace: str | None = None) -> Object | None: ...
    def list(
        self, api_version: str, kind: str, namespace: str | None = None, label_selector: str = ""
    ) -> Objects: ...
    def delete(
        self,
        api_version: str,
        kind: str,
        name: str,
        namespace: str | None = None,
        *,
        propagation: str = ...,
    ) -> bool: ...
    def patch(
        self,
        api_version: str,
        kind: str,
        name: str,
        body: Object,
        namespace: str | None = None,
        subresource: str | None = None,
    ) -> Object: ...
    def events(self, namespace: str, involved_name: str) -> Lines: ...
    def logs(
        self, namespace: str, pod: str, container: str | None = None, tail: int = 50, previous: bool = False
    ) -> str: ...


def claim_seen(
    claim: Object | None, volume: Object | None = None, classes: Collection[str] = ()
) -> ClaimSeen | None:
    """`volume`: the persistent volume it is bound to. Its capacity is the disk's; the file system follows at the mount.
    `classes`: those a new claim could get; none for any."""
    if claim is None:
        return None
    metadata = claim["metadata"]
    annotations = metadata.get("annotations") or {}
    requested = claim["spec"]["resources"]["requests"]["storage"]
    return ClaimSeen(
        phase=(claim.get("status") or {}).get("phase", "Pending"),
        requested_bytes=int(parse_quantity(requested)),
        warm_commit=annotations.get(WARM),
        warm_manifest=annotations.get(WARM_MANIFEST),
        deleting=bool(metadata.get("deletionTimestamp")),
        names_volume=bool(claim["spec"].get("volumeName")),
        other_class=bool(classes) and claim["spec"].get("storageClassName") not in classes,
        volume_bytes=int(parse_quantity(volume["spec"]["capacity"]["storage"])) if volume else None,
    )


def file_system_lags(claim: Object | None, volume: Object | None) -> bool:
    """Whether the volume is larger than its file system, which kubelet grows at a mount, or soon where it is mounted."""
    has = ((claim or {}).get("status") or {}).get("capacity", {}).get("storage")
    if volume is None or has is None:
        return False
    return parse_quantity(has) < parse_quantity(volume["spec"]["capacity"]["storage"])


def job_seen(job: Object | None, pods: Sequence[Object], watched: set[str]) -> JobSeen | None:
    """`pods`: the job's, oldest first; `watched`: uids of the jobs this run started or saw running."""
    if job is None:
        return None
    metadata = job["metadata"]
    ended = exit_of(pods[-1]) if pods else None
    return JobSeen(
        state=job_state(job),
        manifest=(metadata.get("annotations") or {}).get(MANIFEST),
        deleting=bool(metadata.get("deletionTimestamp")),
        watched=metadata["uid"] in watched,
        hopeless=ended is not None and ended[0] in permanent_codes(job),
    )


def permanent_codes(job: Object) -> set[int]:
    """Exit codes after which the job's controller does not try again."""
    rules = job["spec"].get("podFailurePolicy", {}).get("rules") or ()
    return {code for rule in rules for code in rule.get("onExitCodes", {}).get("values") or ()}


def job_state(job: Object) -> JobState:
    for condition in (job.get("status") or {}).get("conditions") or ():
        if condition["status"] == "True" and condition["type"] in ("Complete", "Failed"):
            return "succeeded" if condition["type"] == "Complete" else "failed"
    return "running"


def users_of(pods: Sequence[Object], claim: str) -> list[Object]:
    """Pods on a node that mount the claim and are not at their end, the warm job's own left out."""
    return [
        pod
        for pod in pods
        if pod["spec"].get("nodeName")
        and (pod.get("status") or {}).get("phase") in ("Pending", "Running")
        and (pod["metadata"].get("labels") or {}).get("app") != "model-cache"
        and any(
            volume.get("persistentVolumeClaim", {}).get("claimName") == claim
            for volume in pod["spec"].get("volumes") or ()
        )
    ]


def alive(pods: Sequence[Object]) -> list[Object]:
    """Pods that are not at their end."""
    return [pod for pod in pods if (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed")]


def served_commits(workloads: Sequence[Object]) -> set[str]:
    """Commits these pods or Deployments read, also one that is scaled to nothing: vLLM's arguments name the folder."""
    return {commit for each in workloads for commit in _SERVED.findall(json.dumps(each["spec"]))}


@dataclass(frozen=True)
class Said:
    """The job's own lines: the newest progress (bytes done, of), its error, its end, and what people may read."""

    progress: tuple[int, int] | None = None
    error: Object | None = None
    done: Object | None = None
    notes: tuple[str, ...] = ()


def said(log: str) -> Said:
    """Read the `SLIPWAY {...}` lines of a log; a line cut off in the middle is no line yet."""
    progress, error, done = None, None, None
    notes: list[str] = []
    for text in _LINE.findall(log):
        try:
            line = json.loads(text)
        except ValueError:
            continue
        event = line.get("event")
        if event == "progress":
            progress = (line["done"], line["total"])
        elif event == "error":
            error = line
        elif event == "done":
            done = line
        elif event == "file":
            notes.append(
                f"{line['path']}: {line['size']} bytes, written {line['written']}, proven by {line['proof']}"
            )
        elif event == "note":
            notes.append(line["text"])
    return Said(progress, error, done, tuple(notes))


def pod_phase(pod: Object | None, claim: Object | None, *, node_is_lost: bool = False) -> str:
    """creating, scheduling, volume, starting, running or lost: each has a deadline of its own."""
    if pod is None:
        return "creating"
    if node_is_lost and exit_of(pod) is None:
        return "lost"
    if not pod["spec"].get("nodeName"):
        # The scheduler names a node on the claim first and binds the pod when the volume is there.
        chosen = "volume.kubernetes.io/selected-node" in (
            ((claim or {}).get("metadata") or {}).get("annotations") or {}
        )
        bound = ((claim or {}).get("status") or {}).get("phase") == "Bound"
        return "volume" if chosen and not bound else "scheduling"
    statuses = (pod.get("status") or {}).get("containerStatuses") or ()
    state = statuses[0].get("state", {}) if statuses else {}
    return "running" if "running" in state or "terminated" in state else "starting"


def is_lost(node: Object | None) -> bool:
    """A node that is gone or does not answer: nothing on it can be asked."""
    conditions = ((node or {}).get("status") or {}).get("conditions") or ()
    return not any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def zone_of(volume: Object) -> str:
    """Where a persistent volume can be attached; empty for anywhere."""
    terms = volume["spec"].get("nodeAffinity", {}).get("required", {}).get("nodeSelectorTerms") or ()
    zones = [
        value
        for term in terms
        for expression in term.get("matchExpressions") or ()
        if expression["key"].endswith("/zone")
        for value in expression.get("values") or ()
    ]
    return str(zones[0]) if zones else ""


def zones_of(nodes: Sequence[Object]) -> set[str]:
    return {(node["metadata"].get("labels") or {}).get(ZONE, "") for node in nodes}


def other_zones(zone: str, nodes: Sequence[Object]) -> list[str]:
    """The zones of nodes none of which is in `zone`; none where one is, or where there is no node."""
    found = zones_of(nodes)
    return sorted(found) if zone and zone not in found else []


def waiting_reason(pod: Object) -> tuple[str, str] | None:
    """(reason, message) of a container that waits, such as ImagePullBackOff."""
    for status in (pod.get("status") or {}).get("containerStatuses") or ():
        waiting = status.get("state", {}).get("waiting")
        if waiting and waiting.get("reason"):
            return str(waiting["reason"]), str(waiting.get("message", ""))
    return None


def exit_of(pod: Object) -> tuple[int, str] | None:
    """(exit code, reason) of a container that ended, such as (137, "OOMKilled")."""
    for status in (pod.get("status") or {}).get("containerStatuses") or ():
        ended = status.get("state", {}).get("terminated")
        if ended:
            return int(ended["exitCode"]), str(ended.get("reason", ""))
    return None
