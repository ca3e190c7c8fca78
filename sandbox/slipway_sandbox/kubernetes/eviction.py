"""Eviction: a deletion that asks the pod's disruption budget first.

Source: k8s.io/kubernetes/pkg/registry/core/pod/storage/eviction.go.
"""

from __future__ import annotations

from slipway_sandbox.kubernetes import errors, managed, selectors
from slipway_sandbox.kubernetes.bodies import Write
from slipway_sandbox.kubernetes.deletion import DeleteOptions, Deleter
from slipway_sandbox.kubernetes.errors import Cause
from slipway_sandbox.kubernetes.objects import Objects
from slipway_sandbox.kubernetes.store import Object, Stored

_BUDGETS = ("policy", "poddisruptionbudgets")
_SUCCESS = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}


def evict(
    objects: Objects, deleter: Deleter, namespace: str, name: str, options: DeleteOptions, write: Write
) -> Object:
    """Delete the pod if its budget allows a disruption, and count it there.

    Raises ApiStatus 404, 429 where the budget forbids it, 500 for a pod with several budgets.
    """
    pods = objects.registry.core("pods")
    pod = objects.get(pods, namespace, name)
    if not _needs_no_budget(pod):
        budgets = [b for b in objects.store.all(_BUDGETS) if _covers(b, pod)]
        if len(budgets) > 1:
            raise errors.internal(
                "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
            )
        if budgets:
            _spend(objects, budgets[0], pod, dry_run=write.dry_run or options.dry_run)
    deleter.delete(pods, namespace, name, options, write)
    return _SUCCESS


def _needs_no_budget(pod: Stored) -> bool:
    status = pod.object.get("status", {})
    return status.get("phase") in ("Pending", "Succeeded", "Failed") or "deletionTimestamp" in pod.metadata


def _covers(budget: Stored, pod: Stored) -> bool:
    same = budget.metadata["namespace"] == pod.metadata["namespace"]
    labels = pod.metadata.get("labels") or {}
    return same and selectors.matches(budget.object.get("spec", {}).get("selector"), labels)


def _spend(objects: Objects, budget: Stored, pod: Stored, *, dry_run: bool) -> None:
    """Take one disruption from the budget. Raises ApiStatus 429."""
    status = budget.object.get("status", {})
    name = budget.metadata["name"]
    if status.get("observedGeneration", 0) < budget.metadata.get("generation", 0):
        raise _too_many(f"The disruption budget {name} is still being processed by the server.", seconds=10)
    healthy, desired = status.get("currentHealthy", 0), status.get("desiredHealthy", 0)
    always = budget.object["spec"].get("unhealthyPodEvictionPolicy") == "AlwaysAllow"
    if not _ready(pod) and (always or (healthy >= desired and desired > 0)):
        return
    if status.get("disruptionsAllowed", 0) < 1:
        raise _too_many(
            f"The disruption budget {name} needs {desired} healthy pods and has {healthy} currently"
        )
    disrupted = status.get("disruptedPods", {}) | {pod.metadata["name"]: managed.timestamp(objects.now())}
    spent = status | {"disruptionsAllowed": status["disruptionsAllowed"] - 1, "disruptedPods": disrupted}
    if not dry_run:
        objects.store.put(_BUDGETS, budget.object | {"status": spent})


def _ready(pod: Stored) -> bool:
    conditions = pod.object.get("status", {}).get("conditions") or []
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def _too_many(why: str, seconds: int = 0) -> errors.ApiStatus:
    details: Object = {"causes": [Cause("", why, "DisruptionBudget").as_dict()]}
    if seconds:
        details["retryAfterSeconds"] = seconds
    return errors.ApiStatus(
        429,
        "TooManyRequests",
        "Cannot evict pod as it would violate the pod's disruption budget.",
        details=details,
        headers={"Retry-After": str(seconds)} if seconds else None,
    )
