"""Have models looked at, one run at a time. A model that is named again while its run goes on is looked at once more after it."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tasks.cloud.flow_runs import Run
from tasks.records.errors import PrefectUnavailable

log = logging.getLogger("webhook")

# how often a run's state is asked for, and how long after a failed ask, or a run that never began, it is asked for again
STATE_SECONDS, AGAIN_SECONDS = 5.0, 20.0
# a run is waited for so long at most; what comes later waits for the schedule of slipway-watch
LOOK_SECONDS = 2 * 3600.0
# so many times `settle` a model waits at most, however many commits come
MOST_SETTLES = 5
ENDED = frozenset({"COMPLETED", "FAILED", "CRASHED", "CANCELLED"})

Start = Callable[[str, str], Run]


@dataclass
class _Wanted:
    """When a model was named first and last since it was looked at, on a steady clock."""

    first: float
    last: float


class Looks:
    """`start(model, key)` starts a run of slipway-watch for a model; with the key of a run that is there it says its state.

    `settle`: seconds that no further commit must be told of before a model is looked at. What is wanted is in memory alone.
    """

    def __init__(
        self,
        start: Start,
        settle: float,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._start, self._settle, self._sleep, self._clock = start, settle, sleep, clock
        self._wanted: dict[str, _Wanted] = {}
        self._named = asyncio.Event()

    def want(self, model: str) -> None:
        """The model has a new commit."""
        now = self._clock()
        self._wanted.setdefault(model, _Wanted(now, now)).last = now
        self._named.set()

    async def run(self) -> None:
        """Look at what is wanted, until it is cancelled."""
        while True:
            await self._named.wait()
            self._named.clear()
            while self._wanted:
                model = next(iter(self._wanted))
                await self._settled(model)
                # before the run begins: what is named from here on is looked at after it
                del self._wanted[model]
                await self._look(model)

    async def _settled(self, model: str) -> None:
        wanted = self._wanted[model]
        while (left := settles_at(wanted.first, wanted.last, self._settle) - self._clock()) > 0:
            await self._sleep(left)

    async def _look(self, model: str) -> None:
        end, key = self._clock() + LOOK_SECONDS, uuid.uuid4().hex
        log.info("%s: a run of slipway-watch looks at its newest commit", model)
        while self._clock() < end:
            try:
                run = await asyncio.to_thread(self._start, model, key)
            except PrefectUnavailable as error:
                log.warning("%s: %s: %s", model, error.cause, "; ".join(error.evidence))
                await self._sleep(AGAIN_SECONDS)
                continue
            if run.state not in ENDED:
                await self._sleep(STATE_SECONDS)
            elif run.state == "CANCELLED" and not run.began:
                # another run of slipway-watch goes on, which may have looked before this commit came
                await self._sleep(AGAIN_SECONDS)
                key = uuid.uuid4().hex
            else:
                log.info("%s: the run ended as %s", model, run.state)
                return
        log.warning(
            "%s: no run of slipway-watch ended in %.0f s: its schedule looks again", model, LOOK_SECONDS
        )


def settles_at(first: float, last: float, settle: float) -> float:
    """When a model is looked at that was named first and last then. Pure."""
    return min(last + settle, first + MOST_SETTLES * settle)
