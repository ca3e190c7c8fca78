"""Server-side printing: the columns `kubectl get` shows. Source: k8s.io/kubernetes/pkg/printers/internalversion."""

from __future__ import annotations

import datetime as dt
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


def age_of(then: str, now: dt.datetime) -> str:
    """As kubectl writes a duration: 45s, 2m5s, 3h10m, 2d4h."""
    if not then:
        return "<unknown>"
    seconds = int((now - dt.datetime.fromisoformat(then.replace("Z", "+00:00"))).total_seconds())
    return duration(max(seconds, 0))


def duration(seconds: int) -> str:
    """k8s.io/apimachinery/pkg/util/duration.HumanDuration."""
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if seconds < 120:
        return f"{seconds}s"
    if minutes < 10:
        return f"{minutes}m{seconds % 60}s" if seconds % 60 else f"{minutes}m"
    if hours < 3:
        return f"{minutes}m"
    if hours < 8:
        return f"{hours}h{minutes % 60}m" if minutes % 60 else f"{hours}h"
    if hours < 48:
        return f"{hours}h"
    if days < 8:
        return f"{days}d{hours % 24}h" if hours % 24 else f"{days}d"
    return f"{days}d" if days < 730 else f"{days // 365}y"
