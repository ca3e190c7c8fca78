"""Binding a pod to a node: what a scheduler posts."""

from __future__ import annotations

from typing import Any

from slipway_sandbox.kubernetes import errors, managed
from slipway_sandbox.kubernetes.bodies import Write
from slipway_sandbox.kubernetes.objects import Objects
from slipway_sandbox.kubernetes.store import Object, copy_json


def bind(objects: Objects, namespace: str, name: str, body: Any, write: Write) -> Object:
    """Set the pod's node and its PodScheduled condition.

    Raises ApiStatus 404 for an unknown pod, 409 for one that is bound or being deleted, 500 without a target.
    """
    pods = objects.registry.core("pods")
    pod: Object = copy_json(objects.get(pods, namespace, name).object)
    node = (body.get("target") or {}).get("name")
    if not node:
        raise errors.ApiStatus(500, "", "target.name: Required value")  # a plain error inside kube-apiserver
    if (kind := body["target"].get("kind") or "Node") != "Node":
        why = f'target.kind: Unsupported value: "{kind}": supported values: "Node", "<empty>"'
        raise errors.ApiStatus(500, "", why)
    uid = (body.get("metadata") or {}).get("uid")
    if uid and uid != pod["metadata"]["uid"]:
        raise errors.conflict(pods, name, f"Precondition failed: UID in precondition: {uid}")
    if pod["metadata"].get("deletionTimestamp"):
        raise errors.conflict(pods, name, f"pod {name} is being deleted, cannot be assigned to a host")
    if bound := pod["spec"].get("nodeName"):
        raise errors.conflict(pods, name, f'pod {name} is already assigned to node "{bound}"')
    pod["spec"]["nodeName"] = node
    conditions = [c for c in pod["status"].get("conditions") or [] if c["type"] != "PodScheduled"]
    now = managed.timestamp(objects.now())
    conditions.append(
        {"type": "PodScheduled", "status": "True", "lastProbeTime": None, "lastTransitionTime": now}
    )
    pod["status"]["conditions"] = conditions
    if not write.dry_run:
        objects.store.put(pods.key, pod)
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}
