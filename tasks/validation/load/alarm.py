"""Wake an event loop on time: its own timers have a resolution of milliseconds, the kernel's interval timer of microseconds.

Spinning until a request is due would be exact too, but a process that spins uses up its share of a busy core and then has to
wait: at 200/s on a machine with a load of 8 it was late by 0.3 to 0.9 ms at p50, this by 0.02 to 0.05, with a quarter of the
CPU time.
"""

from __future__ import annotations

import asyncio
import signal
import time
from types import TracebackType
from typing import Self

EARLY_SECONDS = 150e-6  # what a signal takes to reach a coroutine; the rest is spent yielding
BACKSTOP_SECONDS = 0.005  # after which the loop's own timer wakes it, if the signal is lost


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
        """Wait until `due` on time.perf_counter; return at once where that is past."""
        left = due - time.perf_counter() - EARLY_SECONDS
        if left > 0:
            self._rung = self._loop.create_future()
            backstop = self._loop.call_later(left + BACKSTOP_SECONDS, self._ring)
            signal.setitimer(signal.ITIMER_REAL, left)
            await self._rung
            backstop.cancel()
        while time.perf_counter() < due:  # noqa: ASYNC110  for the last tenth of a millisecond
            await asyncio.sleep(0)

    def _ring(self) -> None:
        if self._rung is not None and not self._rung.done():
            self._rung.set_result(None)
