"""SelfSubjectAccessReview. Authorization is not emulated: whoever is authenticated may do everything, and this says so."""

from __future__ import annotations

import datetime as dt

from slipway_sandbox.kubernetes import errors, managed, names
from slipway_sandbox.kubernetes.resources import Resource
from slipway_sandbox.kubernetes.store import Object


def answer(resource: Resource, body: Object, now: dt.datetime) -> Object:
    """The review with its status filled in. Raises ApiStatus 422."""
    spec = body.get("spec") or {}
    if bool(spec.get("resourceAttributes")) == bool(spec.get("nonResourceAttributes")):
        why = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
        raise errors.invalid(resource, "", [names.bad("spec.resourceAttributes", None, why)])
    metadata = (body.get("metadata") or {}) | {"creationTimestamp": managed.timestamp(now)}
    head = {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": metadata}
    return head | {"spec": spec, "status": {"allowed": True}}
