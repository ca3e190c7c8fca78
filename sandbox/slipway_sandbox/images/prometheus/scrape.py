"""Scrape each target in a task of its own; mark series stale when they or their target disappear."""

from __future__ import annotations

import asyncio
import sys
import time as clock_module
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field

import aiohttp

from slipway_sandbox.images.prometheus.discovery import Target
from slipway_sandbox.images.prometheus.exposition import Malformed, samples
from slipway_sandbox.images.prometheus.storage import STALE, Labels, Storage, TooManySeries

BODY_LIMIT = 16 << 20  # bytes of one page
_ACCEPT = "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"


@dataclass
class State:
    """A target and its last scrape, in seconds since 1970."""

    target: Target
    last_scrape: float = 0.0
    written: set[Labels] = field(default_factory=set)


class Scraper:
    """Runs one scraping task for each current target."""

    def __init__(
        self,
        storage: Storage,
        session: aiohttp.ClientSession,
        clock: Callable[[], float] = clock_module.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._storage, self._session, self._clock, self._sleep = storage, session, clock, sleep
        self._tasks: dict[Target, asyncio.Task[None]] = {}
        self.states: dict[Target, State] = {}

    async def update(self, targets: Iterable[Target]) -> None:
        """Replace the set of targets; the series of removed targets end.

        Raises the exception of a scraping task that failed.
        """
        wanted = set(targets)
        for task in self._tasks.values():
            if task.done():
                task.result()
        for target in [known for known in self._tasks if known not in wanted]:
            await self._stop(target)
        for target in wanted - self._tasks.keys():
            state = self.states[target] = State(target)
            self._tasks[target] = asyncio.create_task(self._run(state))

    async def stop(self) -> None:
        await self.update(())

    async def _stop(self, target: Target) -> None:
        task = self._tasks.pop(target)
        task.cancel()
        await asyncio.wait([task])
        state = self.states.pop(target)
        # times are kept to the millisecond, and the mark must be later than the last sample
        self._store(state, max(self._clock(), state.last_scrape + 0.001), {})

    async def _run(self, state: State) -> None:
        interval = state.target.interval
        due = self._clock()
        while True:
            await self.scrape(state)
            now = self._clock()
            due = max(due + interval, now - interval)  # after a slow scrape, skip what was missed
            await self._sleep(max(0.0, due - now))

    async def scrape(self, state: State) -> None:
        """Scrape once: store the page, or on failure `up` 0 and stale marks for the target's series."""
        target, start = state.target, self._clock()
        scraped: dict[Labels, float] = {}
        up = 1.0
        try:
            scraped = _labelled(target, await self._fetch(target))
        except (aiohttp.ClientError, TimeoutError, OSError, Malformed):
            up = 0.0
        report = {"up": up, "scrape_duration_seconds": self._clock() - start}
        report["scrape_samples_scraped"] = float(len(scraped))
        own = {tuple(sorted([("__name__", k), *target.labels])): v for k, v in report.items()}
        try:
            self._store(state, start, scraped | own)
        except TooManySeries as failure:
            print(f'level=ERROR component="scrape" err="{failure}"', file=sys.stderr, flush=True)
        state.last_scrape = start

    async def _fetch(self, target: Target) -> str:
        timeout = aiohttp.ClientTimeout(total=target.timeout)
        headers = {"Accept": _ACCEPT, "User-Agent": "Prometheus/3"}
        async with self._session.get(target.url, timeout=timeout, headers=headers) as response:
            if response.status != 200:
                raise OSError(f"server returned HTTP status {response.status} {response.reason}")
            body = bytearray()
            async for chunk in response.content.iter_chunked(1 << 16):
                body += chunk
                if len(body) > BODY_LIMIT:
                    raise OSError("body size limit exceeded")
        return body.decode("utf-8", errors="replace")

    def _store(self, state: State, time: float, values: Mapping[Labels, float]) -> None:
        """Store the values, and a stale mark for each series that has no value any more."""
        gone = dict.fromkeys(state.written - values.keys(), STALE)
        state.written = set(values)
        self._storage.append(time, [*values.items(), *gone.items()])


def _labelled(target: Target, text: str) -> dict[Labels, float]:
    """Parse a page and add the target's labels. Raises Malformed."""
    result: dict[Labels, float] = {}
    for name, own, value in samples(text):
        labels = {k: v for k, v in own.items() if v}
        for label, said in target.labels:
            if label in labels and target.honor_labels:
                continue
            if label in labels:
                labels[f"exported_{label}"] = labels[label]
            labels[label] = said
        labels["__name__"] = name
        result[tuple(sorted(labels.items()))] = value
    return result
