"""Server-side printing: the columns `kubectl get` shows. Source: k8s.io/kubernetes/pkg/printers/internalversion."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sandbox.kubernetes.resources import Resource
from sandbox.kubernetes.store import Object

Cells = Callable[[Object], list[Any]]
Column = dict[str, Any]
AgeOf = Callable[[str], str]


def column(name: str, *, kind: str = "string", wide: bool = False) -> Column:
    form = "name" if name == "Name" else ""
    return {"name": name, "type": kind, "format": form, "description": name, "priority": int(wide)}


def layout(resource: Resource, age_of: AgeOf) -> tuple[list[Column], Cells]:
    def cells(object_: Object) -> list[Any]:
        metadata = object_["metadata"]
        return [metadata["name"], age_of(metadata.get("creationTimestamp", ""))]

    return [column("Name"), column("Age")], cells
