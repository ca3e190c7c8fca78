"""What the controllers ask of a pod: is it active, ready, available, how much does it request, which goes first."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from decimal import Decimal

from slipway_sandbox.controllers.objects import (
    Object,
    Resource,
    annotations_of,
    condition_of,
    controller_reference,
    is_deleting,
    labels_of,
    name_of,
    parse_time,
    quantity,
    status_of,
)

DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"


def phase(pod: Object) -> str:
    return str(status_of(pod).get("phase") or "Pending")


def is_terminal(pod: Object) -> bool:
    return phase(pod) in ("Succeeded", "Failed")


def is_active(pod: Object) -> bool:
    return not is_terminal(pod) and not is_deleting(pod)


def is_ready(pod: Object) -> bool:
    ready = condition_of(pod, "Ready")
    return ready is not None and ready["status"] == "True"


def available_in(pod: Object, min_ready_seconds: int, now: datetime) -> float | None:
    """Seconds until the ready pod counts as available (0: it does); None while it is not ready."""
    ready = condition_of(pod, "Ready")
    if ready is None or ready["status"] != "True":
        return None
    if not min_ready_seconds:
        return 0.0
    since = ready.get("lastTransitionTime")
    if not since:
        return float(min_ready_seconds)
    return max((parse_time(since) + timedelta(seconds=min_ready_seconds) - now).total_seconds(), 0.0)


def is_available(pod: Object, min_ready_seconds: int, now: datetime) -> bool:
    return available_in(pod, min_ready_seconds, now) == 0.0


def next_availability(pods: Iterable[Object], min_ready_seconds: int, now: datetime) -> float | None:
    """Seconds until another ready pod becomes available; None when nothing is being waited for."""
    waits = [wait for pod in pods if (wait := available_in(pod, min_ready_seconds, now))]
    return min(waits, default=None)


def restarts(pod: Object) -> int:
    return sum(s.get("restartCount", 0) for s in status_of(pod).get("containerStatuses") or [])


def claim_names(pod: Object) -> list[str]:
    """The claims a pod mounts, generic ephemeral volumes included."""
    names = []
    for volume in pod["spec"].get("volumes") or []:
        if "persistentVolumeClaim" in volume:
            names.append(volume["persistentVolumeClaim"]["claimName"])
        elif "ephemeral" in volume:
            names.append(f"{name_of(pod)}-{volume['name']}")
    return names


def holds(pod: Object, claim: str) -> bool:
    """Whether a pod keeps a claim from going: only a scheduled one does, and not for its own ephemeral volume once it
    is shut down, or a foreground deletion would wait for the claim and the claim for the pod
    (podUsesPVC in https://github.com/kubernetes/kubernetes/blob/master/pkg/controller/volume/pvcprotection).
    """
    if not pod["spec"].get("nodeName"):
        return False
    shut_down = is_deleting(pod) and pod["metadata"].get("deletionGracePeriodSeconds") == 0
    for volume in pod["spec"].get("volumes") or []:
        if (volume.get("persistentVolumeClaim") or {}).get("claimName") == claim:
            return True
        if "ephemeral" in volume and f"{name_of(pod)}-{volume['name']}" == claim and not shut_down:
            return True
    return False


def requests(pod: Object) -> dict[str, Decimal]:
    """What the scheduler must find on a node: the containers together, or the largest init container alone."""
    spec = pod["spec"]
    total: dict[str, Decimal] = {}
    for container in spec["containers"]:
        _add(total, _container_requests(container))
    for container in spec.get("initContainers") or []:
        for name, amount in _container_requests(container).items():
            total[name] = max(total.get(name, Decimal(0)), amount)
    return total


def _container_requests(container: Object) -> dict[str, Decimal]:
    resources = container.get("resources") or {}
    # A limit without a request is the request: the API server's defaulting, repeated for objects made without it.
    merged = {**(resources.get("limits") or {}), **(resources.get("requests") or {})}
    return {name: quantity(amount) for name, amount in merged.items()}


def _add(total: dict[str, Decimal], more: dict[str, Decimal]) -> None:
    for name, amount in more.items():
        total[name] = total.get(name, Decimal(0)) + amount


def from_template(template: Object, owner: Object, resource: Resource) -> Object:
    """A pod of `owner`, named by the server from the owner's name."""
    metadata = template.get("metadata") or {}
    meta: Object = {
        "generateName": f"{name_of(owner)}-",
        "namespace": owner["metadata"]["namespace"],
        "labels": dict(metadata.get("labels") or {}),
        "ownerReferences": [controller_reference(owner, resource)],
    }
    for field in ("annotations", "finalizers"):
        if metadata.get(field):
            meta[field] = metadata[field]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": dict(template["spec"])}


def deletion_order(pods: Iterable[Object], related: Iterable[Object] = ()) -> list[Object]:
    """Pods in the order a ReplicaSet gives them up (controller_utils.go, ActivePodsWithRanks).

    `related` are all pods of the same Deployment: a node holding more of them loses one first.
    """
    crowd: dict[str, int] = {}
    for pod in related:
        if is_active(pod):
            node = pod["spec"].get("nodeName", "")
            crowd[node] = crowd.get(node, 0) + 1
    return sorted(pods, key=_deletion_rank(crowd))


def _deletion_rank(crowd: dict[str, int]) -> Callable[[Object], tuple[object, ...]]:
    phases = {"Pending": 0, "Unknown": 1, "Running": 2}

    def rank(pod: Object) -> tuple[object, ...]:
        node = pod["spec"].get("nodeName", "")
        ready = condition_of(pod, "Ready") or {}
        ready_at = ready.get("lastTransitionTime") if is_ready(pod) else None
        created = pod["metadata"].get("creationTimestamp")
        return (
            bool(node),
            phases.get(phase(pod), 2),
            is_ready(pod),
            _cost(pod),
            -crowd.get(node, 0),
            -parse_time(ready_at).timestamp() if ready_at else 0.0,
            -restarts(pod),
            -parse_time(created).timestamp() if created else 0.0,
            name_of(pod),
        )

    return rank


def _cost(pod: Object) -> int:
    text = annotations_of(pod).get(DELETION_COST, "0")
    return int(text) if text.lstrip("-").isdigit() else 0


def has_labels(pod: Object, wanted: dict[str, str]) -> bool:
    return all(labels_of(pod).get(name) == value for name, value in wanted.items())
