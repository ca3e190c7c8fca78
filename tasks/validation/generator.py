"""The load generator: open loop or closed, in a process of its own so that nothing else delays it.

    python -m tasks.validation.generator JOB.json     (the API key in SLIPWAY_API_KEY)

Lines on stdout are JSON: {"progress": sent, "of": total} while it runs, {"report": …} at the end.
What carries the requests, and why, is in connections.py.
"""

from __future__ import annotations

import asyncio
import gc
import json
import math
import os
import resource
import ssl
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import uvloop

from tasks.records.model import Load
from tasks.records.objectives import Objectives
from tasks.records.record import Record
from tasks.records.results import LoadReport
from tasks.validation.alarm import Alarm
from tasks.validation.arrivals import Arrival, arrivals, cut_to_context, fitted, lengths
from tasks.validation.asking import Asking
from tasks.validation.connections import CONNECT_SECONDS, SPARE, Pool
from tasks.validation.measure import report
from tasks.validation.sources import read_sources
from tasks.validation.tally import Tally
from tasks.validation.wire import Reading

LAG_SECONDS = 0.01
PROGRESS_SECONDS = 1.0
READY_AT_MOST = 256  # connections opened before the first request of an open loop
OPENED_AT_ONCE = 32
LATE_TURNS = 16  # so many are sent at once when late, before answers get their turn
PAUSE_SECONDS = 0.1  # a caller whose request failed: a refusal is no reason to ask a thousand times a second

Tell = Callable[[int, int], None]


class Job(Record):
    """Where the load goes, what it is, and what must hold under it. Files of the load are below `root`."""

    base_url: str
    served_name: str
    load: Load
    objectives: Objectives
    max_model_len: int | None = None
    root: str = "."


async def generate(job: Job, key: str, tell: Tell) -> LoadReport:
    """Send every request when it is due, drain, measure. Raises httpx.HTTPError, OSError, InvalidDocument."""
    load = job.load
    rows, given = read_sources(load, Path(job.root))
    schedule, cut = arrivals(load, rows), 0
    context = None if given else job.max_model_len  # how long given prompts are, nobody knows beforehand
    if context:
        schedule, cut = cut_to_context(schedule, context)
    longest = max((one.prompt_words for one in schedule), default=load.prompt_tokens.maximum)
    asking = Asking(job.base_url, job.served_name, key, load, longest=longest, given=given)
    tally = Tally(job.objectives)
    lags: list[float] = []
    wrong: list[Any] = []  # a fault of ours must not be measured as the server's
    asyncio.get_running_loop().set_exception_handler(lambda loop, told: wrong.append(told))
    url = httpx.URL(job.base_url)
    tls = httpx.create_ssl_context() if url.scheme == "https" else None
    await greet(f"{job.base_url}/models", key, tls)
    pool = Pool(url.host, url.port or (443 if tls else 80), tls=tls, stall=load.stall)
    try:
        await open_ready(pool, connections_for(load, schedule))
        started_at = datetime.now(UTC)
        gc.collect()
        gc.freeze()
        gc.disable()  # a collection in the window would be measured as latency
        start = time.perf_counter()
        tally.begin = start + load.warmup
        lagging = asyncio.create_task(_watch_lag(lags, load.warmup))
        sending = Sending(pool, asking, load, tally, start, tell, context)
        if load.arrivals == "closed":
            await sending.closed()
        else:
            await sending.open(schedule)
        lagging.cancel()
        await sending.drain()
        gc.enable()
    finally:
        await pool.close()
    if wrong:
        raise RuntimeError(f"the generator itself failed: {wrong[0]}") from wrong[0].get("exception")
    return report(
        tally, load, job.objectives, started_at=started_at, lags=lags, cut_to_context=cut + sending.cut
    )


async def greet(url: str, key: str, tls: ssl.SSLContext | None) -> None:
    """DNS, TLS and the server's first answer are not the model's time. Raises httpx.HTTPError."""
    async with httpx.AsyncClient(timeout=CONNECT_SECONDS, verify=tls or False, trust_env=False) as client:
        await client.get(url, headers={"Authorization": f"Bearer {key}"})


def connections_for(load: Load, schedule: list[Arrival]) -> int:
    """How many stand ready before the first request: each caller's, or a second's worth of arrivals."""
    if load.concurrency:
        return load.concurrency
    a_second = len(schedule) / (load.warmup + load.window)
    return max(SPARE, min(READY_AT_MOST, math.ceil(a_second)))


async def open_ready(pool: Pool, count: int) -> None:
    for already in range(0, count, OPENED_AT_ONCE):
        now = min(OPENED_AT_ONCE, count - already)
        await asyncio.gather(*(pool.open(1) for _ in range(now)))


@dataclass
class Sending:
    """One load on its way. `start` is the clock's time the schedule counts from."""

    pool: Pool
    asking: Asking
    load: Load
    tally: Tally
    start: float
    tell: Tell
    max_model_len: int | None = None
    running: int = 0
    cut: int = field(default=0, init=False)
    _all_ended: asyncio.Event = field(default_factory=asyncio.Event)

    async def open(self, schedule: list[Arrival]) -> None:
        """Every request when it is due, whatever became of those before."""
        streaming = self.load.streaming
        with Alarm() as alarm:
            for index, arrival in enumerate(schedule):
                request = self.asking.request(arrival.prompt_words, arrival.output_tokens, index)
                due = self.start + arrival.due
                if index % LATE_TURNS == 0:
                    await asyncio.sleep(0)
                await alarm.until(due)
                self._send(request, Reading(due, counted=arrival.counted, streaming=streaming), self._ended)
                self.tell(index + 1, len(schedule))

    async def closed(self) -> None:
        """So many callers, each asking again as soon as it is answered; a request is due when its caller is free.

        Progress is told in seconds: how many requests there will be is not known."""
        load, loop = self.load, asyncio.get_running_loop()
        end = self.start + load.warmup + load.window
        upcoming: Iterator[tuple[int, tuple[int, int]]] = enumerate(lengths(load))

        def ask() -> None:
            now = time.perf_counter()
            if now >= end:
                return
            index, (words, tokens) = next(upcoming)
            words, tokens = self._within_context(words, tokens)
            request = self.asking.request(words, tokens, index)
            due = time.perf_counter()
            reading = Reading(due, counted=due >= self.tally.begin, streaming=load.streaming)
            self._send(request, reading, answered)
            self.tell(int(now - self.start), int(end - self.start))

        def answered(reading: Reading) -> None:
            if reading.failure or reading.status != 200:
                loop.call_later(PAUSE_SECONDS, ask)
            else:
                ask()
            self._ended(reading)

        for _ in range(load.concurrency or 0):
            ask()
        await asyncio.sleep(end - time.perf_counter())

    def _within_context(self, words: int, tokens: int) -> tuple[int, int]:
        if self.max_model_len is None:
            return words, tokens
        asked = Arrival(0.0, words, tokens, counted=True)
        fits = fitted(asked, self.max_model_len)
        self.cut += fits is not asked
        return fits.prompt_words, fits.output_tokens

    async def drain(self) -> None:
        """What still runs gets `drain` seconds; what runs after that has failed, and is counted."""
        if self.running:
            self._all_ended.clear()
            try:
                await asyncio.wait_for(self._all_ended.wait(), self.load.drain)
            except TimeoutError:
                self.pool.give_up("still running after the drain")

    def _send(self, request: bytes, reading: Reading, done: Callable[[Reading], None]) -> None:
        self.running += 1
        self.pool.send(request, reading, done)

    def _ended(self, reading: Reading) -> None:
        self.tally.add(reading.outcome())
        self.running -= 1
        if not self.running:
            self._all_ended.set()


async def _watch_lag(lags: list[float], warmup: float) -> None:
    """How late the event loop itself wakes, in the window: the generator's own share of any latency."""
    await asyncio.sleep(warmup)
    while True:
        before = time.perf_counter()
        await asyncio.sleep(LAG_SECONDS)
        lags.append(max(0.0, time.perf_counter() - before - LAG_SECONDS))


def main() -> None:
    job = Job.model_validate_json(Path(sys.argv[1]).read_text())
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # a connection is a file
    told = 0.0

    def tell(sent: int, total: int) -> None:
        nonlocal told
        now = time.perf_counter()
        if now - told >= PROGRESS_SECONDS or sent == total:
            told = now
            print(json.dumps({"progress": sent, "of": total}), flush=True)

    found = uvloop.run(generate(job, os.environ["SLIPWAY_API_KEY"], tell))
    print(json.dumps({"report": found.model_dump(mode="json")}), flush=True)


if __name__ == "__main__":
    main()
