"""One answer to a client: silent for the heartbeat's interval, then kept alive; its status is true unless a heartbeat came first."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, TypeVar

from starlette.types import Send

from tasks.holding.errors import Refusal

T = TypeVar("T")
Header = tuple[bytes, bytes]
EVENTS, JSON = b"text/event-stream; charset=utf-8", b"application/json"


class Answer:
    """Writes one HTTP answer.

    Args:
        streams: whether the client asked for server-sent events.
        heartbeat: longest silence, in seconds.
    """

    def __init__(
        self, send: Send, *, streams: bool, heartbeat: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._send, self.streams, self._heartbeat, self._clock = send, streams, heartbeat, clock
        self._sent_at = clock()
        self.started = self.ended = False

    async def meanwhile(self, work: Coroutine[Any, Any, T], said: Callable[[], str]) -> T:
        """Wait for `work` and keep the connection alive; `said` is for a stream's comments."""
        task = asyncio.ensure_future(work)
        try:
            while True:
                left = self._heartbeat - (self._clock() - self._sent_at)
                await asyncio.wait({task}, timeout=max(0.0, left))
                if task.done():
                    return task.result()
                await self._beat(said())
        finally:
            if not task.done():
                task.cancel()

    async def refuse(self, refusal: Refusal) -> None:
        """The whole answer; where a heartbeat has sent the status 200, the error is in the body alone."""
        if not self.started:
            headers = [(b"content-type", JSON)]
            if refusal.retry_after is not None:
                headers.append((b"retry-after", str(refusal.retry_after).encode()))
            await self.start(refusal.status, headers)
            await self.write(refusal.body)
        else:
            await self.write(refusal.event if self.streams else refusal.body)
        await self.end()

    async def start(self, status: int, headers: Iterable[Header]) -> None:
        self.started = True
        await self._send({"type": "http.response.start", "status": status, "headers": list(headers)})

    async def write(self, data: bytes) -> None:
        await self._send({"type": "http.response.body", "body": data, "more_body": True})
        self._sent_at = self._clock()

    async def end(self) -> None:
        self.ended = True
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _beat(self, said: str) -> None:
        """A comment of an event stream, or a space before JSON (RFC 8259, 2: insignificant whitespace)."""
        if not self.started:
            kind = EVENTS if self.streams else JSON
            # as vLLM's streams say it: no cache keeps it, and NGINX does not buffer it
            headers = [
                (b"content-type", kind),
                (b"cache-control", b"no-cache"),
                (b"x-accel-buffering", b"no"),
            ]
            await self.start(200, headers)
        await self.write(f": {said}\n\n".encode() if self.streams else b" ")
