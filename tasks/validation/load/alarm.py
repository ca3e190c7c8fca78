"""Waking an event loop on time: its own timers know milliseconds, the kernel's interval timer knows microseconds.

Yielding until a request is due would be exact too, but a process that spins uses up its share of a busy core, and is then made to wait
when it matters: at 200/s on a machine with a load of 8 it was late by 0.3 to 0.9 ms at p50, and this by 0.02 to 0.05, with a quarter of
the CPU time.
"""

from __future__ import annotations

import asyncio
import signal
import time
from types import TracebackType
from typing import Self

EARLY_SECONDS = 150e-6  # about what a signal takes to reach a coroutine; the rest is yielded away
BACKSTOP_SECONDS = 0.005  # after which the loop's own timer wakes it, were the signal lost


class Alarm:
    """One waiter at a time, in a process's main thread."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._rung: asyncio.Future[None] | None = None

    def __enter__(self) -> Self:
        self._loop.add_signal_handler(signal.SIGALRM, self._ring)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        self._loop.remove_signal_handler(signal.SIGALRM)

    async def until(self, due: float) -> None:
        """Until `due` on time.perf_counter; at once where that is past."""
        left = due - time.perf_counter() - EARLY_SECONDS
        if left > 0:
            self._rung = self._loop.create_future()
            backstop = self._loop.call_later(left + BACKSTOP_SECONDS, self._ring)
            signal.setitimer(signal.ITIMER_REAL, left)
            await self._rung
            backstop.cancel()
        while time.perf_counter() < due:  # noqa: ASYNC110  the last tenth of a millisecond
            await asyncio.sleep(0)

    def _ring(self) -> None:
        if self._rung is not None and not self._rung.done():
            self._rung.set_result(None)
