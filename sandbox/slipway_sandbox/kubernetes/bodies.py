"""A request's body as an object of its kind: typed, without what the schema does not know, and how it is to be written."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from slipway_sandbox.kubernetes import custom, errors, schema
from slipway_sandbox.kubernetes.definitions import definitions
from slipway_sandbox.kubernetes.errors import Cause
from slipway_sandbox.kubernetes.resources import Resource
from slipway_sandbox.kubernetes.store import Object, copy_json


@dataclass(frozen=True)
class Write:
    """How a change was asked for; `warnings` go back to the caller as Warning headers."""

    manager: str
    user: str = ""
    dry_run: bool = False
    field_validation: str = "Warn"
    force: bool = False
    warnings: list[str] = field(default_factory=list)
    missing: list[Cause] = field(default_factory=list)  # required fields the body last decoded left out


def decode(resource: Resource, body: Any, write: Write, *, whole: bool = True) -> Object:
    """A private, typed copy of a body. `whole`: required fields must be there (an apply need not name them)."""
    if not isinstance(body, dict):
        raise errors.bad_request("the object provided is unrecognized (must be of type object)")
    if resource.custom is not None:
        _check_custom_type(resource, body)
    else:
        _check_type(resource, body)
    if resource.custom is None:
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
    problems = [f'unknown field "{path}"' for path in unknown]
    if problems and write.field_validation == "Strict":
        raise errors.Undecodable(resource, f"strict decoding error: {', '.join(problems)}")
    if write.field_validation == "Warn":
        write.warnings.extend(problem for problem in problems if problem not in write.warnings)
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


def _check_custom_type(resource: Resource, body: Object) -> None:
    """A custom object has no Go type that the path could stand in for: it must say what it is."""
    if not body.get("kind"):
        why = f"Object 'Kind' is missing in '{json.dumps(body)}'"
        raise errors.bad_request(
            f"the object provided is unrecognized (must be of type {resource.kind}): {why}"
        )
    if (version := body.get("apiVersion") or "") != resource.api_version:
        raise errors.bad_request(
            f"the API version in the data ({version}) does not match the expected API version "
            f"({resource.api_version})"
        )
    if (kind := body["kind"]) != resource.kind:
        cause = Cause("kind", f"Invalid value: {json.dumps(kind)}: must be {resource.kind}")
        raise errors.invalid(resource, (body.get("metadata") or {}).get("name", ""), [cause])


def _check_type(resource: Resource, body: Object) -> None:
    version, kind = body.get("apiVersion") or resource.api_version, body.get("kind") or resource.kind
    given = (version.rpartition("/")[0], version.rpartition("/")[2], kind)
    if given != (resource.group, resource.version, resource.kind) and not registered(version, kind):
        where = "k8s.io/kubernetes/pkg/api/legacyscheme/scheme.go:30"
        why = f'no kind "{kind}" is registered for version "{version}" in scheme "{where}"'
        raise errors.Undecodable(resource, why, kind, given[1])
    if given != (resource.group, resource.version, resource.kind):
        internal = f"{resource.group.partition('.')[0] or 'core'}.{resource.kind}"
        why = f"converting ({given[1]}.{kind}) to ({internal}): unknown conversion"
        raise errors.Undecodable(resource, why, kind, given[1])
    body["apiVersion"], body["kind"] = version, kind


def registered(api_version: str, kind: str) -> bool:
    """Whether this Kubernetes knows a built-in kind of that name."""
    group, _, version = api_version.rpartition("/")
    try:
        definitions().of_kind(group, version, kind)
    except KeyError:
        return False
    return True


def untyped(resource: Resource, metadata: Object, why: str) -> errors.ApiStatus:
    """An apply whose intent does not fit the schema: a plain error inside kube-apiserver, hence its 500."""
    name = f"{metadata.get('namespace', '')}/{metadata.get('name', '')}"
    version = resource.api_version if resource.group else f"/{resource.version}"
    what = f"{name}; {version}, Kind={resource.kind}"
    return errors.ApiStatus(500, "", f"failed to create typed patch object ({what}): {why}")
