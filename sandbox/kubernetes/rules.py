"""What kube-apiserver's validation refuses beyond types."""

from __future__ import annotations

import re

from sandbox.kubernetes.errors import Cause
from sandbox.kubernetes.resources import Resource
from sandbox.kubernetes.store import Object

_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")


def metadata(resource: Resource, new: Object, old: Object | None) -> list[Cause]:
    causes: list[Cause] = []
    name = new["metadata"]["name"]
    if resource.group != "rbac.authorization.k8s.io" and not _SUBDOMAIN.fullmatch(name):
        causes.append(
            Cause(
                "metadata.name",
                f'Invalid value: "{name}": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters',
            )
        )
    return causes


def object_rules(resource: Resource, new: Object, old: Object | None) -> list[Cause]:
    return []
