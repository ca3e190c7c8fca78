"""Requests that a gateway holds: what each client saw, byte by byte in time."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

PATIENCE = 240.0


@dataclass
class Asked:
    """One request. Times on a steady clock; `silence`: the longest time without a byte; `wrong`: what became of it, "" if answered."""

    streams: bool
    sent: float = 0.0
    first_byte: float | None = None
    first_token: float | None = None
    settled: float = 0.0
    silence: float = 0.0
    heartbeats: int = 0
    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    wrong: str = "not sent"

    @property
    def well_formed(self) -> bool:
        """Whether a client takes the answer for a whole one."""
        if self.wrong.startswith("broken"):
            return False
        if self.streams:
            return b"[DONE]" in self.body
        try:
            json.loads(self.body)
        except ValueError:
            return False
        return True


class Crowd:
    """Requests from a thread, each sent at its own moment, by turns to the model's own path and to that of every model."""

    def __init__(self, base_url: str, key: str, model: str) -> None:
        self._urls = (base_url, base_url.replace(f"/{model}/v1", "/v1"))
        self._key, self._model = key, model
        self.asked: list[Asked] = []
        self._thread: threading.Thread | None = None

    def begin(self, count: int, seconds: float) -> None:
        """Send so many, every other one a stream, spread over the seconds."""
        self.asked = [Asked(streams=number % 2 == 0) for number in range(count)]
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run(seconds)), daemon=True)
        self._thread.start()

    def end(self) -> Sequence[Asked]:
        """All that became of them."""
        assert self._thread
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()
        return self.asked

    async def _run(self, seconds: float) -> None:
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
        headers = {"Authorization": f"Bearer {self._key}"}
        began = time.monotonic()
        async with (
            httpx.AsyncClient(headers=headers, limits=limits, timeout=PATIENCE, trust_env=False) as client,
            asyncio.TaskGroup() as group,
        ):
            for number, one in enumerate(self.asked):
                due = began + seconds * number / len(self.asked)
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                group.create_task(self._ask(client, one, self._urls[number // 2 % 2]))

    async def _ask(self, client: httpx.AsyncClient, one: Asked, url: str) -> None:
        body: dict[str, Any] = {
            "model": self._model,
            "prompt": "Hello",
            "max_tokens": 8,
            "stream": one.streams,
        }
        one.sent = last = time.monotonic()
        one.wrong = "no answer"
        try:
            async with client.stream("POST", f"{url}/completions", json=body) as answer:
                one.status, one.headers = answer.status_code, dict(answer.headers)
                async for part in answer.aiter_raw():
                    now = time.monotonic()
                    one.first_byte = one.first_byte or now
                    one.silence, last = max(one.silence, now - last), now
                    one.body += part
                    one.heartbeats += part == b" " or part.startswith(b": ")
                    if one.first_token is None and (b"data: {" in part or part.lstrip().startswith(b"{")):
                        one.first_token = now
            one.wrong = wrong(one)
        except httpx.HTTPError as error:
            one.wrong = f"broken: {type(error).__name__}: {error}"
        one.settled = time.monotonic()


def wrong(one: Asked) -> str:
    """What is wrong with a whole answer."""
    if one.status != 200 or b'"error"' in one.body:
        return f"{one.status}: {one.body[-300:]!r}"
    if one.streams:
        whole = b"[DONE]" in one.body and b'"finish_reason":"length"' in one.body.replace(b": ", b":")
        return "" if whole else f"a stream that did not end: {one.body[-300:]!r}"
    return "" if json.loads(one.body)["choices"][0]["text"] else f"empty: {one.body!r}"
