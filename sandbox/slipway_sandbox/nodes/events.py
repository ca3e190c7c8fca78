"""Kubernetes events, as kubelet and friends record them: repeats raise a count instead of adding objects."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import OrderedDict
from dataclasses import dataclass

import aiohttp

from slipway_sandbox.apiclient import ApiClient, ApiError, Object
from slipway_sandbox.nodes.timestamps import timestamp

log = logging.getLogger(__name__)

QUEUE_LIMIT = 1000  # client-go's event broadcaster also drops what does not fit its queue
REMEMBERED = 4096  # the size of client-go's event correlator cache


@dataclass(frozen=True)
class _Pending:
    involved: Object
    source: tuple[str, str]
    type: str
    reason: str
    message: str

    def key(self) -> tuple[str, ...]:
        reference = self.involved
        return (
            reference.get("uid", ""),
            reference["name"],
            reference.get("fieldPath", ""),
            *self.source,
            self.type,
            self.reason,
            self.message,
        )


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
        self._client = client
        self._queue: asyncio.Queue[_Pending] = asyncio.Queue(QUEUE_LIMIT)
        self._written: OrderedDict[tuple[str, ...], tuple[str, int]] = OrderedDict()

    def record(
        self, involved: Object, kind: str, reason: str, message: str, *, component: str, host: str = ""
    ) -> None:
        """`involved` is an ObjectReference, `kind` Normal or Warning. Message is cut at the API's 1024 characters."""
        try:
            self._queue.put_nowait(_Pending(involved, (component, host), kind, reason, message[:1024]))
        except asyncio.QueueFull:
            log.warning("event queue full, dropped %s for %s: %s", reason, involved["name"], message)

    async def run(self) -> None:
        while True:
            pending = await self._queue.get()
            try:
                await self._write(pending)
            except (ApiError, aiohttp.ClientError, TimeoutError) as error:
                log.warning(
                    "event %s for %s not written: %s", pending.reason, pending.involved["name"], error
                )

    async def _write(self, pending: _Pending) -> None:
        key, namespace = pending.key(), pending.involved.get("namespace", "default")
        path = self._client.path("v1", "events", namespace)
        seen = self._written.get(key)
        if seen is not None:
            name, count = seen
            try:
                await self._client.patch(f"{path}/{name}", {"count": count + 1, "lastTimestamp": timestamp()})
            except ApiError as error:
                if error.code != 404:  # expired or deleted with its namespace: a new one is made below
                    raise
            else:
                self._written[key] = (name, count + 1)
                return
        name = f"{pending.involved['name']}.{secrets.token_hex(8)}"
        await self._client.create(path, _event(pending, name, namespace))
        self._written[key] = (name, 1)
        while len(self._written) > REMEMBERED:
            self._written.popitem(last=False)


def _event(pending: _Pending, name: str, namespace: str) -> Object:
    component, host = pending.source
    now = timestamp()
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": namespace},
        "involvedObject": pending.involved,
        "type": pending.type,
        "reason": pending.reason,
        "message": pending.message,
        "count": 1,
        "firstTimestamp": now,
        "lastTimestamp": now,
        "eventTime": None,
        "source": {"component": component, **({"host": host} if host else {})},
        "reportingComponent": component,
        "reportingInstance": host,
    }
