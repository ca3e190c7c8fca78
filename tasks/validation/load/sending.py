"""Send a load: every request when it is due (open loop) or as soon as its caller is free (closed loop), and measure it."""

from __future__ import annotations

import asyncio
import gc
import math
import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from tasks.validation.load.alarm import Alarm
from tasks.validation.load.arrivals import Arrival, arrivals, cut_to_context, fitted, lengths
from tasks.validation.load.connections import SPARE, Pool, Tls
from tasks.validation.load.figures import Measured, measured
from tasks.validation.load.instructions import Instructions
from tasks.validation.load.request import RequestBuilder
from tasks.validation.load.sources import read_sources
from tasks.validation.load.tally import Tally
from tasks.validation.load.wire import Reading

LAG_SECONDS = 0.01
READY_AT_MOST = 256  # connections opened before the first request of an open loop
OPENED_AT_ONCE = 32
LATE_TURNS = 16  # requests sent in a row when late, before answers are read again
PAUSE_SECONDS = 0.1  # before a caller asks again after a failure: a refusal must not cause a flood

Progress = Callable[[int, int], None]


async def generate(instructions: Instructions, key: str, progress: Progress) -> Measured:
    """Send every request, wait for the last, measure. Raises OSError, InvalidDocument."""
    rows, given = read_sources(instructions)
    schedule, cut = arrivals(instructions, rows), 0
    # how long given prompts are is not known beforehand: they are not cut
    context = None if given else instructions.max_model_len
    if context:
        schedule, cut = cut_to_context(schedule, context)
    longest = max((one.prompt_words for one in schedule), default=instructions.prompt_tokens.maximum)
    builder = RequestBuilder(instructions, key, longest=longest, given=given)
    tally = Tally(instructions.good)
    lags: list[float] = []
    # an error in a callback of ours must not be measured as the server's
    wrong: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: wrong.append(context))
    pool = pool_of(instructions)
    try:
        await greet(pool, builder.models(), instructions)
        await open_ready(pool, connections_for(instructions, schedule))
        started_at = datetime.now(UTC)
        # a collection in the window would be measured as latency
        gc.collect()
        gc.freeze()
        gc.disable()
        start = time.perf_counter()
        tally.begin = start + instructions.warmup
        watching = asyncio.create_task(watch_lag(lags, instructions.warmup))
        sending = Sending(pool, builder, instructions, tally, start, progress, context)
        if instructions.arrivals == "closed":
            await sending.closed()
        else:
            await sending.open(schedule)
        watching.cancel()
        await sending.drain()
        gc.enable()
    finally:
        await pool.close()
    if wrong:
        raise RuntimeError(f"the generator itself failed: {wrong[0]}") from wrong[0].get("exception")
    return measured(
        tally,
        instructions.window,
        started_at=started_at.isoformat(),
        lags=lags,
        bounded=instructions.good.is_bounded,
        cut_to_context=cut + sending.cut,
    )


def pool_of(instructions: Instructions) -> Pool:
    """Connections to the endpoint. TLS is verified by `authority`, else by the system's certificates, or those of SSL_CERT_FILE."""
    url = urlsplit(instructions.base_url)
    host = url.hostname or ""
    trusted = instructions.authority or None
    tls = Tls(ssl.create_default_context(cadata=trusted), host) if url.scheme == "https" else None
    return Pool(
        instructions.connect_to or host, url.port or (443 if tls else 80), tls=tls, stall=instructions.stall
    )


async def greet(pool: Pool, request: bytes, instructions: Instructions) -> None:
    """Ask until answered before the clock starts: DNS, TLS and a server's first answer are not the model's time.

    A network policy takes a moment to let a new pod in. Raises OSError once `patience` is over.
    """
    give_up = time.perf_counter() + instructions.patience
    while True:
        ended: asyncio.Future[Reading] = asyncio.get_running_loop().create_future()
        pool.send(request, Reading(time.perf_counter(), counted=False, streaming=False), ended.set_result)
        reading = await ended
        if not reading.failure:
            return
        if time.perf_counter() >= give_up:
            raise OSError(f"no answer from {instructions.base_url}: {reading.failure}")
        await asyncio.sleep(PAUSE_SECONDS)


def connections_for(instructions: Instructions, schedule: list[Arrival]) -> int:
    """How many connections are opened before the first request: one a caller, or a second's worth of arrivals."""
    if instructions.concurrency:
        return instructions.concurrency
    a_second = len(schedule) / (instructions.warmup + instructions.window)
    return max(SPARE, min(READY_AT_MOST, math.ceil(a_second)))


async def open_ready(pool: Pool, count: int) -> None:
    for already in range(0, count, OPENED_AT_ONCE):
        now = min(OPENED_AT_ONCE, count - already)
        await asyncio.gather(*(pool.open(1) for _ in range(now)))


@dataclass
class Sending:
    """One load being sent. `start`: the clock's time that the schedule counts from."""

    pool: Pool
    builder: RequestBuilder
    instructions: Instructions
    tally: Tally
    start: float
    progress: Progress
    max_model_len: int | None = None
    running: int = 0
    cut: int = field(default=0, init=False)
    _all_ended: asyncio.Event = field(default_factory=asyncio.Event)

    async def open(self, schedule: list[Arrival]) -> None:
        """Send every request when it is due, whatever became of those before."""
        streaming, route = self.instructions.streaming, self.instructions.endpoint
        with Alarm() as alarm:
            for index, arrival in enumerate(schedule):
                request = self.builder.request(arrival.prompt_words, arrival.output_tokens, index)
                due = self.start + arrival.due
                if index % LATE_TURNS == 0:
                    await asyncio.sleep(0)
                await alarm.until(due)
                reading = Reading(due, counted=arrival.counted, streaming=streaming, route=route)
                self._send(request, reading, self._ended)
                self.progress(index + 1, len(schedule))

    async def closed(self) -> None:
        """Keep `concurrency` callers asking, each again as soon as it is answered; a request is due when its caller is free.

        Progress is in seconds: how many requests there will be is not known.
        """
        instructions, loop = self.instructions, asyncio.get_running_loop()
        end = self.start + instructions.warmup + instructions.window
        upcoming: Iterator[tuple[int, tuple[int, int]]] = enumerate(lengths(instructions))

        def ask() -> None:
            now = time.perf_counter()
            if now >= end:
                return
            index, (words, tokens) = next(upcoming)
            words, tokens = self._within_context(words, tokens)
            request = self.builder.request(words, tokens, index)
            due = time.perf_counter()
            reading = Reading(
                due,
                counted=due >= self.tally.begin,
                streaming=instructions.streaming,
                route=instructions.endpoint,
            )
            self._send(request, reading, answered)
            self.progress(int(now - self.start), int(end - self.start))

        def answered(reading: Reading) -> None:
            if reading.failure or reading.status != 200:
                loop.call_later(PAUSE_SECONDS, ask)
            else:
                ask()
            self._ended(reading)

        for _ in range(instructions.concurrency):
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
        """Wait `drain` seconds for the requests still running; those that do not end have failed, and are counted."""
        if self.running:
            self._all_ended.clear()
            try:
                await asyncio.wait_for(self._all_ended.wait(), self.instructions.drain)
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


async def watch_lag(lags: list[float], warmup: float) -> None:
    """Measure in the window how late the event loop wakes: the generator's own share of any latency."""
    await asyncio.sleep(warmup)
    while True:
        before = time.perf_counter()
        await asyncio.sleep(LAG_SECONDS)
        lags.append(max(0.0, time.perf_counter() - before - LAG_SECONDS))
