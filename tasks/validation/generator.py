"""The load generator: open loop or closed, in a process of its own so that nothing else delays it.

    python -m tasks.validation.generator JOB.json     (the API key in SLIPWAY_API_KEY)

Lines on stdout are JSON: {"progress": sent, "of": total} while it runs, {"report": …} at the end.
What carries the requests, and why, is in transport.py.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import httpx
import uvloop

from tasks.spec.model import Load, Objectives, Record
from tasks.spec.records import LoadReport
from tasks.validation.arrivals import Arrival, arrivals, lengths, prompt
from tasks.validation.measure import report
from tasks.validation.transport import LoadTransport, TimedStream
from tasks.validation.wire import Trace, read

CONNECT_SECONDS = 10.0
SPIN_SECONDS = (
    0.0015  # asleep until this long before a request is due, then yielding: timers are late by more
)
LAG_SECONDS = 0.01
PROGRESS_SECONDS = 1.0


class Job(Record):
    """Where the load goes, what it is, and what must hold under it."""

    base_url: str
    served_name: str
    load: Load
    objectives: Objectives


async def generate(job: Job, key: str, tell: Callable[[int, int], None]) -> LoadReport:
    """Send every request when it is due, drain, measure."""
    schedule = arrivals(job.load)
    bodies = [_body(job, a.prompt_words, a.output_tokens, index) for index, a in enumerate(schedule)]
    url = httpx.URL(f"{job.base_url}/chat/completions")
    headers = httpx.Headers(
        {"Host": url.netloc.decode(), "Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    )
    lags: list[float] = []
    traces: list[Trace] = []
    async with LoadTransport(stall=job.load.stall, connect=CONNECT_SECONDS) as transport:
        sender = Sender(transport, url, headers)
        await sender.greet(f"{job.base_url}/models")
        started_at = datetime.now(UTC)
        gc.collect()
        gc.freeze()
        gc.disable()  # a collection in the window would be measured as latency
        start = time.perf_counter()
        lagging = asyncio.create_task(_watch_lag(lags, start, job.load))
        if job.load.arrivals == "closed":
            await _closed(sender, job, start, traces, tell)
            lagging.cancel()
        else:
            sending = await _open(sender, job, start, schedule, bodies, traces, tell)
            lagging.cancel()
            await _drain(sending, job.load.drain)
        gc.enable()
    for trace in traces:
        if not trace.ended:
            trace.failure = "still running after the drain"
    return report(
        [read(trace) for trace in traces], job.load, job.objectives, started_at=started_at, lags=lags
    )


async def _open(
    sender: Sender,
    job: Job,
    start: float,
    schedule: Sequence[Arrival],
    bodies: Sequence[bytes],
    traces: list[Trace],
    tell: Callable[[int, int], None],
) -> list[asyncio.Task[None]]:
    """Every request when it is due, whatever became of those before; the ones that may still run."""
    sending = []
    for index, (arrival, body) in enumerate(zip(schedule, bodies, strict=True)):
        await _until(start + arrival.due)
        trace = Trace(due=start + arrival.due, counted=arrival.counted, streaming=job.load.streaming)
        traces.append(trace)
        sending.append(asyncio.create_task(sender.send(body, trace)))
        tell(index + 1, len(schedule))
    return sending


async def _closed(
    sender: Sender,
    job: Job,
    start: float,
    traces: list[Trace],
    tell: Callable[[int, int], None],
) -> None:
    """So many callers, each asking again as soon as it is answered; a request is due when its caller is free.

    Progress is told in seconds: how many requests there will be is not known."""
    load = job.load
    begin, end = start + load.warmup, start + load.warmup + load.window
    upcoming = enumerate(lengths(load))

    async def call() -> None:
        while (due := time.perf_counter()) < end:
            index, (words, tokens) = next(upcoming)
            body = _body(job, words, tokens, index)
            trace = Trace(due=time.perf_counter(), counted=due >= begin, streaming=load.streaming)
            traces.append(trace)
            await sender.send(body, trace)
            tell(int(time.perf_counter() - start), int(end - start))

    callers = [asyncio.create_task(call()) for _ in range(load.concurrency or 0)]
    await asyncio.sleep(end - time.perf_counter())
    await _drain(callers, load.drain)


def _body(job: Job, words: int, tokens: int, index: int) -> bytes:
    body = {
        "model": job.served_name,
        "messages": [{"role": "user", "content": prompt(words, index, job.load.seed)}],
        "max_tokens": tokens,
        "ignore_eos": True,  # vLLM's own: the length asked for is the length generated
        "temperature": 0.0,
        "stream": job.load.streaming,
    }
    if job.load.streaming:
        body["stream_options"] = {"include_usage": True}
    return json.dumps(body).encode()


async def _until(due: float) -> None:
    left = due - time.perf_counter()
    if left > SPIN_SECONDS:
        await asyncio.sleep(left - SPIN_SECONDS)
    while time.perf_counter() < due:  # noqa: ASYNC110  this is the one wait a timer is too coarse for
        await asyncio.sleep(0)


@dataclass(frozen=True)
class Sender:
    """Where requests go, and with which headers."""

    transport: LoadTransport
    url: httpx.URL
    headers: httpx.Headers

    async def greet(self, url: str) -> None:
        """The first connection and DNS are not the model's time. Raises httpx.HTTPError."""
        response = await self.transport.handle_async_request(httpx.Request("GET", url, headers=self.headers))
        await response.aclose()

    async def send(self, body: bytes, trace: Trace) -> None:
        """One request; everything that happened to it is in `trace`."""
        trace.sent = time.perf_counter()
        request = httpx.Request("POST", self.url, headers=self.headers, content=body)
        chunks = trace.chunks
        try:
            response = await self.transport.handle_async_request(request)
            trace.status = response.status_code
            stream = response.stream
            assert isinstance(stream, TimedStream)  # noqa: S101  our own transport's
            try:
                async for chunk in stream:
                    chunks.append((stream.arrived, chunk))
            finally:
                await stream.aclose()
        except httpx.TimeoutException:
            trace.failure = "stalled" if chunks else "no answer in time"
        except httpx.ConnectError:
            trace.failure = "connection refused"
        except httpx.HTTPError:
            trace.failure = "connection lost"
        trace.ended = chunks[-1][0] if chunks and not trace.failure else time.perf_counter()


async def _drain(sending: list[asyncio.Task[None]], patience: float) -> None:
    if sending:
        _, running = await asyncio.wait(sending, timeout=patience)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def _watch_lag(lags: list[float], start: float, load: Load) -> None:
    """How late the event loop itself wakes, in the window: the generator's own share of any latency."""
    await asyncio.sleep(load.warmup)
    while True:
        before = time.perf_counter()
        await asyncio.sleep(LAG_SECONDS)
        lags.append(max(0.0, time.perf_counter() - before - LAG_SECONDS))


def main() -> None:
    job = Job.model_validate_json(Path(sys.argv[1]).read_text())
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
