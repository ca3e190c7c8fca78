"""events.k8s.io/v1 and core/v1 Events are one stored object with two spellings (core is what is stored)."""

from __future__ import annotations

from slipway_sandbox.kubernetes.store import Object

_SPELLINGS = {
    "note": "message",
    "regarding": "involvedObject",
    "deprecatedSource": "source",
    "deprecatedFirstTimestamp": "firstTimestamp",
    "deprecatedLastTimestamp": "lastTimestamp",
    "deprecatedCount": "count",
    "reportingController": "reportingComponent",
}
_BACK = {core: new for new, core in _SPELLINGS.items()}


def to_core(event: Object) -> Object:
    renamed = {_SPELLINGS.get(key, key): value for key, value in event.items()}
    return renamed | {"apiVersion": "v1", "kind": "Event"}


def from_core(event: Object) -> Object:
    renamed = {_BACK.get(key, key): value for key, value in event.items()}
    for key in (
        "reportingController",
        "reportingInstance",
    ):  # core/v1 writes them empty, this API leaves them out
        if not renamed.get(key):
            renamed.pop(key, None)
    return renamed | {"apiVersion": "events.k8s.io/v1", "kind": "Event"}
