"""Evictions: deletions that ask the pods' disruption budgets, as a drain makes them."""

from __future__ import annotations

from typing import Any

from slipway_sandbox.apiclient import ApiClient, ApiError, Object
from slipway_sandbox.nodes.kubelet.pod import DEFAULT_GRACE


def of_daemon_set(pod: Object) -> bool:
    """Its owner would only make it again: a drain leaves it where it is."""
    return any(o["kind"] == "DaemonSet" for o in pod["metadata"].get("ownerReferences") or [])


def grace_of(pod: Object) -> float:
    """Seconds the pod takes to end at most."""
    return float(pod["spec"].get("terminationGracePeriodSeconds", DEFAULT_GRACE))


async def evict(client: ApiClient, pod: Object, grace: int | None = None) -> bool:
    """Whether the pod is on its way out; False where a budget holds it. Raises ApiError for anything else.

    `grace`: seconds, shorter than the pod's own.
    """
    metadata = pod["metadata"]
    options: dict[str, Any] = {"preconditions": {"uid": metadata["uid"]}}
    if grace is not None:
        options["gracePeriodSeconds"] = grace
    names = {"name": metadata["name"], "namespace": metadata["namespace"]}
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": names, "deleteOptions": options}
    path = client.path("v1", "pods", metadata["namespace"], metadata["name"], "eviction")
    try:
        await client.create(path, body)
    except ApiError as error:
        if error.code in (404, 409):  # gone, or a namesake took its place
            return True
        if error.code == 429:
            return False
        raise
    return True
