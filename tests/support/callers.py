"""Callers who keep on asking a gateway while something is changed behind it, and what became of each request."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import httpx

RATE = 10.0  # requests a second where nothing else is said, sent whatever becomes of those before: open loop
LONG = 8  # every so many is a long stream: longer than any preStop here


@dataclass(frozen=True)
class Answer:
    """One request: when it was sent and settled (seconds on a steady clock), and what was wrong with it ("": nothing)."""

    sent: float
    settled: float
    wrong: str


@dataclass
class Callers:
    """Open-loop load from a thread; `answers` once it has stopped."""

    base_url: str
    key: str
    model: str
    embeds: bool = False
    rate: float = RATE
    answers: list[Answer] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    @property
    def failures(self) -> list[str]:
        return [answer.wrong for answer in self.answers if answer.wrong]

    @property
    def longest_gap(self) -> float:
        """Seconds from the last request that was answered to the next one that was, where any failed between."""
        longest, last, failing = 0.0, None, False
        for answer in sorted(self.answers, key=lambda answer: answer.sent):
            if answer.wrong:
                failing = True
                continue
            if failing and last is not None:
                longest = max(longest, answer.sent - last)
            last, failing = answer.sent, False
        return longest

    def run(self) -> None:
        asyncio.run(self._run())

    async def _run(self) -> None:
        headers = {"Authorization": f"Bearer {self.key}"}
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=20)
        async with httpx.AsyncClient(timeout=30.0, headers=headers, limits=limits) as http:
            tasks: set[asyncio.Task[None]] = set()
            number, due = 0, time.monotonic()
            while not self._stop.is_set():
                tasks.add(asyncio.create_task(self._one(http, number)))
                number, due = number + 1, due + 1.0 / self.rate
                await asyncio.sleep(max(0.0, due - time.monotonic()))
            await asyncio.gather(*tasks)

    async def _one(self, http: httpx.AsyncClient, number: int) -> None:
        sent = time.monotonic()
        long = number % LONG == 0
        try:
            asked = self._vector(http) if self.embeds else self._stream(http, 500 if long else 16)
            wrong = await asked
        except httpx.HTTPError as error:
            wrong = f"{type(error).__name__}: {error}"
        if wrong:
            kind = "vector" if self.embeds else "long stream" if long else "short stream"
            wrong = f"{kind} after {time.monotonic() - sent:.2f} s: {wrong}"
        self.answers.append(Answer(sent, time.monotonic(), wrong))

    async def _stream(self, http: httpx.AsyncClient, tokens: int) -> str:
        body = {
            "model": self.model,
            "prompt": "Hello",
            "max_tokens": tokens,
            "stream": True,
            "ignore_eos": True,
        }
        async with http.stream("POST", f"{self.base_url}/completions", json=body) as response:
            text = (await response.aread()).decode()
        if response.status_code != 200:
            return f"{response.status_code}: {text[:200]}"
        if '"error"' in text or "[DONE]" not in text or '"finish_reason":"length"' not in text:
            return f"a stream that did not end: ...{text[-200:]}"
        return ""

    async def _vector(self, http: httpx.AsyncClient) -> str:
        body = {"model": self.model, "input": ["Hello", "and again"]}
        response = await http.post(f"{self.base_url}/embeddings", json=body)
        if response.status_code != 200 or len(response.json()["data"]) != 2:
            return f"{response.status_code}: {response.text[:200]}"
        return ""


@contextmanager
def calling(
    base_url: str, key: str, model: str, *, embeds: bool = False, rate: float = RATE
) -> Iterator[Callers]:
    """Load for as long as the block lasts, from the first answer on; everything sent has settled afterwards."""
    callers = Callers(base_url, key, model, embeds, rate)
    thread = threading.Thread(target=callers.run, daemon=True)
    thread.start()
    try:
        deadline = time.monotonic() + 20.0
        while not callers.answers:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield callers
    finally:
        callers._stop.set()
        with suppress(RuntimeError):
            thread.join(60.0)
        assert not thread.is_alive()
