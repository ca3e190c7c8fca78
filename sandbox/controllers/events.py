"""Events as client-go's recorder writes them: the same thing said again raises a count, it makes no new object."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime

import aiohttp

from sandbox.apiclient import ApiClient, ApiError
from sandbox.controllers.objects import EVENTS, Object, timestamp
from sandbox.controllers.writes import Note

log = logging.getLogger(__name__)
_REMEMBERED = 4096  # client-go's maxLruCacheEntries
_BACKLOG = 1000


class Recorder:
    """Notes are queued by `note` and written by `run`; a full backlog drops the note and says so."""

    def __init__(self, client: ApiClient, now: Callable[[], datetime]) -> None:
        self._client, self._now = client, now
        self._backlog: asyncio.Queue[tuple[str, Note, datetime]] = asyncio.Queue(maxsize=_BACKLOG)
        self._known: OrderedDict[tuple[str, ...], Object] = OrderedDict()
        self._serial = 0

    def note(self, component: str, note: Note) -> None:
        try:
            self._backlog.put_nowait((component, note, self._now()))
        except asyncio.QueueFull:
            log.warning("event dropped, %d are waiting: %s %s", _BACKLOG, note.reason, note.message)

    async def run(self) -> None:
        while True:
            component, note, moment = await self._backlog.get()
            try:
                await self._write(component, note, moment)
            except (ApiError, aiohttp.ClientError, TimeoutError) as error:
                # An event is a remark, not state: upstream too gives up on one the server refuses.
                log.warning("event %s %s not written: %s", note.reason, note.message, error)

    async def _write(self, component: str, note: Note, moment: datetime) -> None:
        event = self._event(component, note, moment)
        involved = event["involvedObject"]
        key = (component, involved.get("uid", ""), note.kind, note.reason, note.message, involved["name"])
        path = self._client.path(EVENTS.api, EVENTS.plural, event["metadata"]["namespace"])
        known = self._known.get(key)
        if known is not None:
            again = {"count": known.get("count", 1) + 1, "lastTimestamp": timestamp(moment)}
            try:
                self._known[key] = await self._client.patch(f"{path}/{known['metadata']['name']}", again)
                self._known.move_to_end(key)
            except ApiError as error:
                if error.code != 404:  # 404: the event's time to live ran out, so it is said anew
                    raise
            else:
                return
        self._known[key] = await self._client.create(path, event)
        while len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)

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
            "uid": metadata.get("uid", ""),
            "resourceVersion": metadata.get("resourceVersion", ""),
        }
        if metadata.get("namespace"):
            involved["namespace"] = metadata["namespace"]
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": f"{metadata['name']}.{suffix}", "namespace": namespace},
            "involvedObject": involved,
            "reason": note.reason,
            "message": note.message,
            "type": "Warning" if note.warning else "Normal",
            "source": {"component": component},
            "reportingComponent": component,
            "reportingInstance": component,
            "firstTimestamp": timestamp(moment),
            "lastTimestamp": timestamp(moment),
            "eventTime": None,
            "count": 1,
        }
