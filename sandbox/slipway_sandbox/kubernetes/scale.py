"""The scale subresource: autoscaling/v1 Scale over any kind that counts replicas."""

from __future__ import annotations

from typing import Any

from slipway_sandbox.kubernetes import errors, selectors
from slipway_sandbox.kubernetes.errors import Cause
from slipway_sandbox.kubernetes.resources import Resource
from slipway_sandbox.kubernetes.store import Object, copy_json


def _paths(resource: Resource) -> tuple[str, str, str]:
    """Dotted paths of spec replicas, status replicas and the selector (a string in custom resources)."""
    if resource.custom is not None:
        return resource.custom.spec_replicas, resource.custom.status_replicas, resource.custom.label_selector
    return ".spec.replicas", ".status.replicas", ".spec.selector"


def _look(object_: Object, path: str) -> Any:
    value: Any = object_
    for part in filter(None, path.split(".")):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def to_scale(resource: Resource, object_: Object) -> Object:
    """The Scale of an object."""
    spec_path, status_path, selector_path = _paths(resource)
    metadata = object_["metadata"]
    selector = _look(object_, selector_path) if selector_path else None
    if isinstance(selector, dict):
        selector = selectors.to_string(selector)
    status: Object = {"replicas": _look(object_, status_path) or 0}
    if selector:
        status["selector"] = selector
    spec_replicas = _look(object_, spec_path)
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {
            key: metadata[key]
            for key in ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
            if key in metadata
        },
        "spec": {"replicas": spec_replicas} if spec_replicas else {},
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
        raise errors.bad_request(
            "json: cannot unmarshal into Go struct field ScaleSpec.spec.replicas of type int32"
        )
    if replicas < 0 and resource.custom is None:
        cause = Cause("spec.replicas", f"Invalid value: {replicas}: must be greater than or equal to 0")
        raise errors.invalid(resource, live["metadata"]["name"], [cause])
    changed: Object = copy_json(live)
    node = changed
    *parents, last = filter(None, _paths(resource)[0].split("."))
    for part in parents:
        node = node.setdefault(part, {})
    node[last] = replicas
    changed["metadata"]["resourceVersion"] = (scale.get("metadata") or {}).get("resourceVersion") or ""
    return changed
