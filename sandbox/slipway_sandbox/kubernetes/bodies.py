"""A request's body as an object of its kind: typed, without what the schema does not know, and how it is to be written."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from slipway_sandbox.kubernetes import custom, errors, schema
from slipway_sandbox.kubernetes.errors import Cause
from slipway_sandbox.kubernetes.resources import Resource
from slipway_sandbox.kubernetes.store import Object, copy_json


@dataclass(frozen=True)
class Write:
    """How a change was asked for. `strict`: a field the schema does not know is refused, not dropped."""

    manager: str
    user: str = ""
    dry_run: bool = False
    strict: bool = False
    force: bool = False
    missing: list[Cause] = field(default_factory=list)  # required fields the body last decoded left out


def decode(resource: Resource, body: Any, write: Write, *, whole: bool = True) -> Object:
    """A private, typed copy of a body. `whole`: required fields must be there (an apply need not name them)."""
    if not isinstance(body, dict):
        raise errors.bad_request("the object provided is unrecognized (must be of type object)")
    _check_type(resource, body)
    if not resource.custom:
        decoded = schema.decode(resource, body, whole=whole)
        object_, unknown = decoded.value, decoded.unknown
        write.missing[:] = decoded.missing
    else:
        meta = schema.decode_metadata(resource, body)
        object_, unknown = custom.prune(resource, copy_json(body))
        object_["metadata"] = meta.value
        unknown = unknown + meta.unknown
    if unknown and not whole:
        lines = [f".{path}: field not declared in schema" for path in unknown]
        raise untyped(resource, body["metadata"], "\n".join(lines))
    if unknown and write.strict:
        problems = ", ".join(f'unknown field "{path}"' for path in unknown)
        raise errors.Undecodable(resource, f"strict decoding error: {problems}")
    metadata = object_.setdefault("metadata", {})
    for key in _OMITTED if whole else ():  # an apply owns also what it leaves empty
        if key in metadata and not metadata[key]:
            del metadata[key]
    typed: Object = {"apiVersion": resource.api_version, "kind": resource.kind} | object_
    return typed


_OMITTED = (
    "labels",
    "annotations",
    "finalizers",
    "ownerReferences",
)  # ObjectMeta leaves them out where they are empty


def _check_type(resource: Resource, body: Object) -> None:
    """Left out, kind and version are the path's; a custom object must say what it is."""
    given = {"apiVersion": resource.api_version, "kind": resource.kind}
    if not resource.custom:
        body["apiVersion"] = body.get("apiVersion") or resource.api_version
        body["kind"] = body.get("kind") or resource.kind
    for key, wanted in given.items():
        if body.get(key) != wanted:
            shown = json.dumps(body.get(key))
            raise errors.bad_request(f"the object's {key} is {shown}, and {wanted} is expected here")


def untyped(resource: Resource, metadata: Object, why: str) -> errors.ApiStatus:
    """An apply whose intent does not fit the schema: a plain error inside kube-apiserver, hence its 500."""
    name = f"{metadata.get('namespace', '')}/{metadata.get('name', '')}"
    version = resource.api_version if resource.group else f"/{resource.version}"
    what = f"{name}; {version}, Kind={resource.kind}"
    return errors.ApiStatus(500, "", f"failed to create typed patch object ({what}): {why}")
