"""A Deployment's status and conditions, as kubectl rollout, Helm's wait and kstatus read them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from slipway_sandbox.controllers.objects import (
    DEPLOYMENTS,
    Object,
    condition_of,
    name_of,
    parse_time,
    status_of,
    timestamp,
)
from slipway_sandbox.controllers.rolling import fences, wanted
from slipway_sandbox.controllers.writes import Decision, update_status

COMPLETE = "NewReplicaSetAvailable"
TIMED_OUT = "ProgressDeadlineExceeded"
_COUNTS = ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas")


def decide_status(
    deployment: Object,
    replica_sets: Sequence[Object],
    new: Object | None,
    conditions: list[Object],
    now: datetime,
) -> Decision:
    """The status over `replica_sets`. `conditions` are the present ones with what the step itself changed."""
    counts = _counts(replica_sets, new)
    conditions = _set(conditions, _available(deployment, counts, now))
    conditions = _progressing(deployment, replica_sets, new, counts, conditions, now)
    conditions = _replica_failure(replica_sets, conditions)
    old = status_of(deployment)
    status: Object = {
        "observedGeneration": deployment["metadata"].get("generation"),
        **{name: value or None for name, value in counts.items()},
        "unavailableReplicas": max(_asked(replica_sets) - counts["availableReplicas"], 0) or None,
        "collisionCount": old.get("collisionCount"),
        "conditions": conditions or None,
    }
    decision = Decision(update_status(DEPLOYMENTS, deployment, status))
    decision.again(_seconds_to_deadline(deployment, conditions, now))
    return decision


def progress_condition(
    deployment: Object, conditions: list[Object], status: str, reason: str, message: str, now: datetime
) -> list[Object]:
    """The conditions with this Progressing; unchanged where no progress deadline is set."""
    if not _deadline(deployment):
        return conditions
    return _set(conditions, _condition("Progressing", status, reason, message, now))


def is_complete(deployment: Object, counts: dict[str, int]) -> bool:
    desired = wanted(deployment)
    return counts["updatedReplicas"] == counts["replicas"] == counts["availableReplicas"] == desired


def _count(item: Object, name: str) -> int:
    return int(status_of(item).get(name) or 0)


def _asked(replica_sets: Sequence[Object]) -> int:
    return sum(int(item["spec"].get("replicas", 1)) for item in replica_sets)


def _counts(replica_sets: Sequence[Object], new: Object | None) -> dict[str, int]:
    counts = {name: sum(_count(item, name) for item in replica_sets) for name in _COUNTS}
    counts["updatedReplicas"] = _count(new, "replicas") if new is not None else 0
    return counts


def _deadline(deployment: Object) -> int | None:
    seconds = deployment["spec"].get("progressDeadlineSeconds")
    return None if seconds in (None, 2**31 - 1) else int(seconds)


def _condition(kind: str, status: str, reason: str, message: str, now: datetime) -> Object:
    moment = timestamp(now)
    return {
        "type": kind,
        "status": status,
        "lastUpdateTime": moment,
        "lastTransitionTime": moment,
        "reason": reason,
        "message": message,
    }


def _set(conditions: list[Object], new: Object) -> list[Object]:
    """SetDeploymentCondition: nothing changes while status and reason stay; the transition time follows the status."""
    old = next((c for c in conditions if c["type"] == new["type"]), None)
    if old is not None:
        if (old["status"], old.get("reason")) == (new["status"], new["reason"]):
            return conditions
        if old["status"] == new["status"]:
            new = new | {"lastTransitionTime": old["lastTransitionTime"]}
    return [*(c for c in conditions if c["type"] != new["type"]), new]


def _available(deployment: Object, counts: dict[str, int], now: datetime) -> Object:
    if counts["availableReplicas"] >= wanted(deployment) - fences(deployment).unavailable:
        message = "Deployment has minimum availability."
        return _condition("Available", "True", "MinimumReplicasAvailable", message, now)
    message = "Deployment does not have minimum availability."
    return _condition("Available", "False", "MinimumReplicasUnavailable", message, now)


def _progressing(
    deployment: Object,
    replica_sets: Sequence[Object],
    new: Object | None,
    counts: dict[str, int],
    conditions: list[Object],
    now: datetime,
) -> list[Object]:
    deadline = _deadline(deployment)
    if deadline is None:
        return [c for c in conditions if c["type"] != "Progressing"]
    current = condition_of({"status": {"conditions": conditions}}, "Progressing")
    reason = current.get("reason") if current else None
    settled = counts["replicas"] == counts["updatedReplicas"] and reason == COMPLETE
    if settled or deployment["spec"].get("paused"):
        return conditions
    subject = f'ReplicaSet "{name_of(new)}"' if new else f'Deployment "{name_of(deployment)}"'
    if new is not None and is_complete(deployment, counts):
        done = _condition("Progressing", "True", COMPLETE, f"{subject} has successfully progressed.", now)
        return _set(conditions, done)
    if _progressed(status_of(deployment), counts):
        moved = _condition("Progressing", "True", "ReplicaSetUpdated", f"{subject} is progressing.", now)
        if current is not None and current["status"] == "True":
            moved["lastTransitionTime"] = current["lastTransitionTime"]
        # Unlike _set: the update time moves although status and reason stay. The deadline counts from it.
        return [*(c for c in conditions if c["type"] != "Progressing"), moved]
    if current is not None and _timed_out(current, deadline, now):
        late = _condition("Progressing", "False", TIMED_OUT, f"{subject} has timed out progressing.", now)
        return _set(conditions, late)
    return conditions


def _progressed(old: Object, counts: dict[str, int]) -> bool:
    def was(name: str) -> int:
        return int(old.get(name) or 0)

    return (
        counts["updatedReplicas"] > was("updatedReplicas")
        or counts["replicas"] - counts["updatedReplicas"] < was("replicas") - was("updatedReplicas")
        or counts["readyReplicas"] > was("readyReplicas")
        or counts["availableReplicas"] > was("availableReplicas")
    )


def _timed_out(progressing: Object, deadline: int, now: datetime) -> bool:
    if progressing.get("reason") == COMPLETE:
        return False
    if progressing.get("reason") == TIMED_OUT:
        return True
    return now >= parse_time(progressing["lastUpdateTime"]) + timedelta(seconds=deadline)


def _seconds_to_deadline(deployment: Object, conditions: list[Object], now: datetime) -> float | None:
    deadline = _deadline(deployment)
    current = condition_of({"status": {"conditions": conditions}}, "Progressing")
    if deadline is None or current is None or deployment["spec"].get("paused"):
        return None
    if current.get("reason") in (COMPLETE, TIMED_OUT):
        return None
    due = parse_time(current["lastUpdateTime"]) + timedelta(seconds=deadline)
    # The stamps are whole seconds: a little later, so that the deadline is past when it is looked at.
    return max((due - now).total_seconds(), 0.0) + 0.01


def _replica_failure(replica_sets: Sequence[Object], conditions: list[Object]) -> list[Object]:
    failure = next(
        (found for item in replica_sets if (found := condition_of(item, "ReplicaFailure")) is not None), None
    )
    kept = [c for c in conditions if c["type"] != "ReplicaFailure"]
    if failure is None:
        return kept if len(kept) != len(conditions) else conditions
    return _set(conditions, failure | {"lastUpdateTime": failure["lastTransitionTime"]})
