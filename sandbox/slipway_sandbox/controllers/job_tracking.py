"""How a job counts its pods: each once, whoever deletes them (pkg/controller/job, trackJobStatusAndRemoveFinalizers).

A pod of a job carries a finalizer. When it has ended, its uid is first written to the job's status, then the finalizer goes,
and only then does the counter in the status rise: at no point can a pod be missed or counted twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from slipway_sandbox.controllers.job_failures import is_ignored
from slipway_sandbox.controllers.objects import PODS, Object, is_deleting, status_of, uid_of
from slipway_sandbox.controllers.pods import is_active, is_terminal, phase
from slipway_sandbox.controllers.writes import Patch, Write

FINALIZER = "batch.kubernetes.io/job-tracking"


@dataclass(frozen=True)
class Tally:
    """A job's pods. `succeeded` and `failed` are all that ever did; `counts` is what the status says of them now."""

    active: list[Object]
    terminating: list[Object]
    succeeded: int
    failed: int
    failed_pods: list[Object]
    """those still there, for the pause before the next"""
    counts: Object = field(default_factory=dict)
    uncounted: bool = False
    release: list[Object] = field(default_factory=list)
    """pods whose finalizer may go once the counts are written"""


def only_failed_are_replaced(job: Object) -> bool:
    """With a podFailurePolicy, a pod that is still ending is neither replaced nor counted."""
    return bool(job["spec"].get("podFailurePolicy"))


def has_finalizer(pod: Object) -> bool:
    return FINALIZER in (pod["metadata"].get("finalizers") or [])


def track(job: Object, pods: Sequence[Object]) -> Tally:
    """Count the pods that ended since the status was written."""
    status = status_of(job)
    waiting = status.get("uncountedTerminatedPods") or {}
    held = {uid_of(pod): pod for pod in pods if has_finalizer(pod)}
    over = any(c["type"] == "FailureTarget" for c in status.get("conditions") or [])
    finishing = over or any(c["type"] == "SuccessCriteriaMet" for c in status.get("conditions") or [])
    new = {kind: [uid for uid in waiting.get(kind) or [] if uid in held] for kind in ("succeeded", "failed")}
    counted = {
        kind: int(status.get(kind) or 0) + len(waiting.get(kind) or []) - len(new[kind])
        for kind in ("succeeded", "failed")
    }
    release = []
    for uid, pod in held.items():
        failed = _counts_as_failed(job, pod)
        if not is_terminal(pod) and not failed and not finishing:
            continue
        release.append(pod)
        if uid in new["succeeded"] or uid in new["failed"]:
            continue
        if phase(pod) == "Succeeded":
            new["succeeded"].append(uid)
        elif (failed or over) and not is_ignored(job, pod):
            new["failed"].append(uid)
    return _tally(job, pods, counted, new, release)


def _tally(
    job: Object,
    pods: Sequence[Object],
    counted: dict[str, int],
    new: dict[str, list[str]],
    release: list[Object],
) -> Tally:
    counts: Object = {
        "succeeded": counted["succeeded"] or None,
        "failed": counted["failed"] or None,
        "uncountedTerminatedPods": {kind: uids for kind, uids in new.items() if uids},
    }
    return Tally(
        active=[pod for pod in pods if is_active(pod)],
        terminating=[pod for pod in pods if is_deleting(pod) and not is_terminal(pod)],
        succeeded=counted["succeeded"] + len(new["succeeded"]),
        failed=counted["failed"] + len(new["failed"]),
        failed_pods=[pod for pod in pods if phase(pod) == "Failed" and not is_ignored(job, pod)],
        counts=counts,
        uncounted=any(new.values()),
        release=release,
    )


def _counts_as_failed(job: Object, pod: Object) -> bool:
    """Also a pod somebody deletes, which may never get to say that it failed."""
    if phase(pod) == "Failed":
        return True
    return not only_failed_are_replaced(job) and is_deleting(pod) and phase(pod) != "Succeeded"


def releases(pods: Iterable[Object]) -> list[Write]:
    """Take the finalizer from pods that have it."""
    writes: list[Write] = []
    for pod in pods:
        present = pod["metadata"].get("finalizers") or []
        if FINALIZER in present:
            kept = [name for name in present if name != FINALIZER]
            # With the uid: a 409 where a namesake has taken the pod's place.
            writes.append(Patch(PODS, pod, {"metadata": {"uid": uid_of(pod), "finalizers": kept or None}}))
    return writes
