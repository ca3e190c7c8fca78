"""A request's body as an object of its kind: typed, without what the schema does not know, and how it is to be written."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sandbox.kubernetes import custom, errors, schema
from sandbox.kubernetes.resources import Resource
from sandbox.kubernetes.store import Object, copy_json


@dataclass(frozen=True)
class Write:
    """How a change was asked for; `warnings` go back to the caller as Warning headers."""

    manager: str
    user: str = ""
    dry_run: bool = False
    field_validation: str = "Warn"
    force: bool = False
    warnings: list[str] = field(default_factory=list)
    duplicates: list[str] = field(default_factory=list)  # dotted paths of keys the body has twice


def decode(resource: Resource, body: Any, write: Write, *, whole: bool = True) -> Object:
    """A private, typed copy of a body. `whole`: required fields must be there (an apply need not name them)."""
    if not isinstance(body, dict):
        raise errors.bad_request("the object provided is unrecognized (must be of type object)")
    _check_type(resource, body)
    if resource.custom is None:
        decoded = schema.decode(resource, body, whole=whole)
        object_, unknown = decoded.value, decoded.unknown
        if decoded.missing and whole:
            raise errors.invalid(resource, (body.get("metadata") or {}).get("name", ""), decoded.missing)
    else:
        meta = schema.decode_metadata(resource, body)
        object_, unknown = custom.prune(resource, copy_json(body))
        object_["metadata"] = meta.value
        unknown = unknown + meta.unknown
    if unknown and not whole:
        lines = [f".{path}: field not declared in schema" for path in unknown]
        raise untyped(resource, body["metadata"], "\n".join(lines))
    problems = [f'duplicate field "{path}"' for path in write.duplicates]
    problems += [f'unknown field "{path}"' for path in unknown]
    if problems and write.field_validation == "Strict":
        raise errors.Undecodable(resource, f"strict decoding error: {', '.join(problems)}")
    if write.field_validation == "Warn":
        write.warnings.extend(problem for problem in problems if problem not in write.warnings)
    object_.setdefault("metadata", {})
    typed: Object = {"apiVersion": resource.api_version, "kind": resource.kind} | object_
    return typed


def _check_type(resource: Resource, body: Object) -> None:
    version, kind = body.get("apiVersion") or resource.api_version, body.get("kind") or resource.kind
    if kind != resource.kind:
        why = f'the object provided is unrecognized (kind "{kind}" does not match {resource.kind})'
        raise errors.Undecodable(resource, why)
    if version != resource.api_version:
        raise errors.Undecodable(
            resource,
            f"the API version in the data ({version}) does not match the expected API version "
            f"({resource.api_version})",
        )
    body["apiVersion"], body["kind"] = version, kind


def untyped(resource: Resource, metadata: Object, why: str) -> errors.ApiStatus:
    """An apply whose intent does not fit the schema: a plain error inside kube-apiserver, hence its 500."""
    name = "/".join(filter(None, (metadata.get("namespace"), metadata.get("name"))))
    what = f"{name}; {resource.api_version}, Kind={resource.kind}"
    return errors.ApiStatus(500, "", f"failed to create typed patch object ({what}): {why}")
