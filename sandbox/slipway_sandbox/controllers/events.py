"""Events as the recorders of client-go write them; `correlation` says which of them become one."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from datetime import datetime

import aiohttp

from slipway_sandbox.apiclient import ApiClient, ApiError
from slipway_sandbox.controllers.correlation import Correlated, Counted, Series
from slipway_sandbox.controllers.objects import EVENTS, Object, precise_timestamp, timestamp
from slipway_sandbox.controllers.writes import Note

log = logging.getLogger(__name__)
_BACKLOG = 1000


class Recorder:
    """Events are queued by `note` or `put` and written by `run`; a full backlog drops one and says so."""

    def __init__(self, client: ApiClient, now: Callable[[], datetime]) -> None:
        self._client, self._now = client, now
        self._backlog: asyncio.Queue[tuple[Object, datetime]] = asyncio.Queue(maxsize=_BACKLOG)
        self._counted, self._series = Counted(), Series()
        self._serial = 0

    def note(self, component: str, note: Note) -> None:
        self.put(self._event(component, note, self._now()))

    def put(self, event: Object) -> None:
        try:
            self._backlog.put_nowait((event, self._now()))
        except asyncio.QueueFull:
            log.warning("event dropped, %d are waiting: %s %s", _BACKLOG, event["reason"], event["message"])

    async def run(self) -> None:
        while True:
            event, moment = await self._backlog.get()
            correlated = (self._series if event.get("action") else self._counted).correlate(event, moment)
            try:
                if correlated is not None:
                    await self._write(correlated)
            except (ApiError, aiohttp.ClientError, TimeoutError) as error:
                # An event is a remark, not state: upstream too gives up on one the server refuses.
                log.warning("event %s %s not written: %s", event["reason"], event["message"], error)

    async def _write(self, correlated: Correlated) -> None:
        event = correlated.event
        path = self._client.path(EVENTS.api, EVENTS.plural, event["metadata"]["namespace"])
        if correlated.patch is not None:
            try:
                await self._client.patch(f"{path}/{event['metadata']['name']}", correlated.patch)
            except ApiError as error:
                if error.code != 404:  # 404: the event's time to live ran out, so it is said anew
                    raise
            else:
                return
        await self._client.create(path, event)

    def _event(self, component: str, note: Note, moment: datetime) -> Object:
        metadata = note.about["metadata"]
        # A cluster-scoped object's events live in "default" (client-go, tools/record/event.go).
        namespace = metadata.get("namespace") or "default"
        self._serial += 1
        suffix = f"{int(moment.timestamp() * 1e6):x}{self._serial & 0xFFF:03x}"
        involved = {
            "apiVersion": note.about.get("apiVersion", "v1"),
            "kind": note.kind,
            "name": metadata["name"],
        }
        for name in ("uid", "resourceVersion", "namespace"):  # some speak of an object they know by name only
            if metadata.get(name):
                involved[name] = metadata[name]
        event: Object = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": f"{metadata['name']}.{suffix}", "namespace": namespace},
            "involvedObject": involved,
            "reason": note.reason,
            "message": note.message,
            "type": "Warning" if note.warning else "Normal",
            "reportingComponent": component,
        }
        if note.action:
            return event | {
                "action": note.action,
                "eventTime": precise_timestamp(moment),
                "reportingInstance": f"{component}-{socket.gethostname()}",
                "firstTimestamp": None,
                "lastTimestamp": None,
                "source": {},
            }
        return event | {
            "source": {"component": component},
            "reportingInstance": "",
            "firstTimestamp": timestamp(moment),
            "lastTimestamp": timestamp(moment),
            "eventTime": None,
            "count": 1,
        }
