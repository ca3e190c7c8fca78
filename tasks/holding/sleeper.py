"""The requests that wait for one model: wakes it once, and lets them go on when it is ready."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tasks.holding.decide import Action, allowed, decide, seconds_left
from tasks.holding.waking import Wake, Waker
from tasks.records.errors import SlipwayError
from tasks.records.hold import HeldModel

log = logging.getLogger("holder")

LOOK_SECONDS = 0.5
MOST_TIMES = 10_000
STEP_SECONDS = 0.02


class NothingToWake(Exception):
    """The model has no Deployment."""


class Sleeper:
    """One model. Made and used in one event loop; the cluster is asked in threads."""

    def __init__(
        self,
        name: str,
        told: HeldModel,
        ramp: float,
        waker: Waker,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.name, self._told, self._ramp, self._waker = name, told, ramp, waker
        self.names = frozenset({name, *told.others})
        self._clock, self._now = clock, now
        self._waiting: deque[asyncio.Future[str]] = deque()
        self._task: asyncio.Task[None] | None = None
        self._ready: list[str] = []
        self._ready_at = 0.0
        self._released = self._running = 0
        self._wake = Wake(None, None)
        self._told_first = False
        self._noting: asyncio.Task[None] | None = None
        # of those that went on since the last word about it
        self._first_tokens: deque[float] = deque(maxlen=MOST_TIMES)

    @property
    def seconds_left(self) -> int | None:
        """Until it answers, by its earlier starts; None where they are not known."""
        return seconds_left(self._wake.expected, self._wake.at, self._now())

    async def turn(self, *, again: bool = False) -> str:
        """Wait for a ready pod's address. `again`: before the others, as it waited already. Raises NothingToWake."""
        ticket: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        (self._waiting.appendleft if again else self._waiting.append)(ticket)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._work())
        try:
            return await ticket
        finally:
            if ticket in self._waiting:
                self._waiting.remove(ticket)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Counts one of the requests that a pod has."""
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1
            if not self._running and not self._waiting:
                self._say_how_it_went()

    def _say_how_it_went(self) -> None:
        if times := sorted(self._first_tokens):
            log.info(
                "%s: %d requests went on; until the first token %.2f s (p50), %.2f s (p95), %.2f s at most",
                self.name,
                len(times),
                times[len(times) // 2],
                times[math.ceil(0.95 * len(times)) - 1],
                times[-1],
            )
        self._first_tokens.clear()

    def first_token(self, seconds: float | None) -> None:
        """Count how long a stream's first token took since it went on; note the first answer after a wake, meanwhile."""
        if seconds is not None:
            self._first_tokens.append(seconds)
        if not self._told_first and self._wake.at is not None:
            self._told_first = True
            self._noting = asyncio.create_task(self._note_first_token())

    async def _note_first_token(self) -> None:
        try:
            await asyncio.to_thread(self._waker.first_token, self.name)
        except SlipwayError as error:
            log.warning("%s: the first token is not noted: %s", self.name, error.cause)

    async def _work(self) -> None:
        try:
            await self._steps()
        except Exception as error:
            # a defect: whoever waits is told by a broken connection, not left to its deadline
            while self._waiting:
                _settle(self._waiting.popleft(), error)
            raise

    async def _steps(self) -> None:
        looked = -math.inf
        while self._waiting:
            if self._clock() - looked >= LOOK_SECONDS:
                try:
                    await self._look()
                except SlipwayError as error:
                    # the requests wait on, until the API answers or their time is over
                    log.warning("%s: %s: %s", self.name, error.cause, "; ".join(error.evidence)[:300])
                looked = self._clock()
            self._release()
            await asyncio.sleep(STEP_SECONDS if self._ready else LOOK_SECONDS)

    async def _look(self) -> None:
        seen = await asyncio.to_thread(self._waker.look, self.name)
        if seen.ready and not self._ready:
            self._ready_at, self._released = self._clock(), 0
            log.info("%s: ready, %d requests go on", self.name, len(self._waiting))
        self._ready = list(seen.ready)
        match decide(seen):
            case Action.WAKE:
                woken = await asyncio.to_thread(self._waker.wake, self.name, self._told.replicas)
                if woken != self._wake:  # while a flow's run is under way it is asked for again and again
                    self._told_first = False
                    log.info("%s: woken for %d requests that wait", self.name, len(self._waiting))
                self._wake = woken
            case Action.WAIT if self._wake.at is None:
                self._wake = await asyncio.to_thread(self._waker.last_wake, self.name)
            case Action.REFUSE:
                while self._waiting:
                    _settle(self._waiting.popleft(), NothingToWake(self.name))

    def _release(self) -> None:
        if not self._ready:
            return
        due = allowed(self._clock() - self._ready_at, self._told.rate, self._ramp) - self._released
        room = self._told.slots * len(self._ready) - self._running
        while self._waiting and due >= 1 and room >= 1:
            address = self._ready[self._released % len(self._ready)]
            _settle(self._waiting.popleft(), address)
            self._released += 1
            due, room = due - 1, room - 1


def _settle(ticket: asyncio.Future[str], outcome: str | Exception) -> None:
    if ticket.done():  # its client left meanwhile
        return
    if isinstance(outcome, Exception):
        ticket.set_exception(outcome)
    else:
        ticket.set_result(outcome)
