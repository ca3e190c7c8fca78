"""The scale subresource: autoscaling/v1 Scale over any kind that counts replicas."""

from __future__ import annotations

from typing import Any

from slipway_sandbox.kubernetes import errors, selectors
from slipway_sandbox.kubernetes.errors import Cause
from slipway_sandbox.kubernetes.resources import Resource
from slipway_sandbox.kubernetes.store import Object, copy_json


def to_scale(object_: Object) -> Object:
    """The Scale of an object."""
    metadata, spec = object_["metadata"], object_.get("spec") or {}
    status: Object = {"replicas": (object_.get("status") or {}).get("replicas") or 0}
    if selector := selectors.to_string(spec.get("selector")):
        status["selector"] = selector
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {
            key: metadata[key]
            for key in ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
            if key in metadata
        },
        "spec": {"replicas": spec["replicas"]} if spec.get("replicas") else {},
        "status": status,
    }


def from_scale(resource: Resource, live: Object, scale: Any) -> Object:
    """The live object with the Scale's replicas; its resourceVersion locks as usual. Raises ApiStatus 400 or 422."""
    if not isinstance(scale, dict) or scale.get("kind", "Scale") != "Scale":
        raise errors.bad_request("the object provided is unrecognized (must be of kind Scale)")
    name = live["metadata"]["name"]
    if (given := (scale.get("metadata") or {}).get("name") or name) != name:
        raise errors.bad_request(
            f"the name of the object ({given}) does not match the name on the URL ({name})"
        )
    replicas = (scale.get("spec") or {}).get("replicas") or 0
    if not isinstance(replicas, int) or isinstance(replicas, bool):
        raise errors.bad_request("json: cannot unmarshal spec.replicas into a number")
    if replicas < 0:
        cause = Cause("spec.replicas", f"Invalid value: {replicas}: must be greater than or equal to 0")
        raise errors.invalid(resource, live["metadata"]["name"], [cause])
    changed: Object = copy_json(live)
    changed["spec"]["replicas"] = replicas
    changed["metadata"]["resourceVersion"] = (scale.get("metadata") or {}).get("resourceVersion") or ""
    return changed
