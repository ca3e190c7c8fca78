"""How a stage says what it is doing, without knowing who listens (a terminal, Prefect, a test)."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from tasks.records.quantities import human_bytes, human_seconds


class Reporter(Protocol):
    """Plain words and measured progress of one stage. Called from any thread."""

    def say(self, line: str) -> None:
        """One thing that happened, in plain words."""

    def progress(self, done: float, total: float, unit: str = "bytes", detail: str = "") -> None:
        """So much of so much; called as often as it changes, shown as often as it is useful."""


class Silent:
    """Listens to nothing: for callers that only want the result."""

    def say(self, line: str) -> None:
        pass

    def progress(self, done: float, total: float, unit: str = "bytes", detail: str = "") -> None:
        pass


class Pace:
    """Rate and time left of one transfer, over its whole time so far."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._started: float | None = None
        self._first_done = 0.0

    def describe(self, done: float, total: float, unit: str = "bytes", detail: str = "") -> str:
        """ "12.0 MiB of 24.0 MiB (50 %), 8.0 MiB/s, 1.5 s left"."""
        now = self._clock()
        if self._started is None:
            self._started, self._first_done = now, done
        elapsed = now - self._started
        amount = human_bytes if unit == "bytes" else (lambda count: f"{count:g}")
        share = f" ({100 * done / total:.0f} %)" if total else ""
        text = f"{amount(done)} of {amount(total)}{'' if unit == 'bytes' else f' {unit}'}{share}"
        moved = done - self._first_done
        if elapsed > 0 and moved > 0:
            rate = moved / elapsed
            text += f", {amount(rate) if unit == 'bytes' else f'{rate:.1f} {unit}'}/s"
            if done < total:
                text += f", {human_seconds((total - done) / rate)} left"
        return f"{text} {detail}".rstrip()
