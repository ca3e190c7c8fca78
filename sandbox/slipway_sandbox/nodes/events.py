"""Kubernetes events as kubelet and friends record them; the controllers' recorder writes them."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime

from slipway_sandbox.apiclient import ApiClient, Object
from slipway_sandbox.controllers.events import Recorder
from slipway_sandbox.nodes.timestamps import timestamp


def reference(item: Object, field_path: str = "") -> Object:
    """An ObjectReference to `item`, which must carry kind and apiVersion."""
    metadata = item["metadata"]
    found = {
        "kind": item["kind"],
        "apiVersion": item["apiVersion"],
        "name": metadata["name"],
        "uid": metadata.get("uid", ""),
        "resourceVersion": metadata.get("resourceVersion", ""),
    }
    if metadata.get("namespace"):
        found["namespace"] = metadata["namespace"]
    if field_path:
        found["fieldPath"] = field_path
    return found


class EventRecorder:
    """`record` never blocks; `run` writes what was recorded, in order."""

    def __init__(self, client: ApiClient) -> None:
        self._recorder = Recorder(client, lambda: datetime.now(UTC))
        self.run = self._recorder.run

    def record(
        self, involved: Object, kind: str, reason: str, message: str, *, component: str, host: str = ""
    ) -> None:
        """`involved` is an ObjectReference, `kind` Normal or Warning. Message is cut at the API's 1024 characters."""
        now = timestamp()
        self._recorder.put(
            {
                "apiVersion": "v1",
                "kind": "Event",
                "metadata": {
                    "name": f"{involved['name']}.{secrets.token_hex(8)}",
                    "namespace": involved.get("namespace", "default"),
                },
                "involvedObject": involved,
                "type": kind,
                "reason": reason,
                "message": message[:1024],
                "count": 1,
                "firstTimestamp": now,
                "lastTimestamp": now,
                "eventTime": None,
                "source": {"component": component, **({"host": host} if host else {})},
                "reportingComponent": component,
                "reportingInstance": host,
            }
        )
