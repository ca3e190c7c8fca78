"""Report what a stage is doing, to a terminal, to Prefect or to a test."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from tasks.records.quantities import human_bytes, human_seconds

# units that take about as long each: of others a rate and a time left would mislead
EVEN_UNITS = ("bytes", "requests")

StepState = Literal["waiting", "begun", "done", "failed"]


@dataclass(frozen=True)
class Step:
    """What became of one task run: its id and name."""

    id: str
    name: str
    state: StepState


@dataclass(frozen=True)
class Saying:
    """Marks a log record for the terminal. `detail`: only where all is asked for; `share`: of a progress, 0 to 100."""

    stage: str = ""
    detail: bool = False
    share: float | None = None


# `extra` of a log record that a terminal shows
SHOWN: dict[str, Any] = {"slipway": Saying()}


class Reporter(Protocol):
    """Messages and progress of one stage. Called from any thread."""

    def say(self, line: str) -> None:
        """Report something that happened, in one line."""

    def detail(self, line: str) -> None:
        """Report one of many alike, as each resource of terraform: a terminal shows it only where asked to."""

    def warn(self, line: str) -> None:
        """Report what a person should see although the run goes on."""

    def progress(self, done: float, total: float, unit: str = "bytes", detail: str = "") -> None:
        """Report progress: `done` of `total`. Call freely; the implementation throttles."""


class Silent:
    """Ignores everything: for callers that only want the result."""

    def say(self, line: str) -> None:
        pass

    def detail(self, line: str) -> None:
        pass

    def warn(self, line: str) -> None:
        pass

    def progress(self, done: float, total: float, unit: str = "bytes", detail: str = "") -> None:
        pass


class Pace:
    """Rate and time left of one transfer, averaged since its beginning."""

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
        if elapsed > 0 and moved > 0 and unit in EVEN_UNITS:
            rate = moved / elapsed
            text += f", {amount(rate) if unit == 'bytes' else f'{rate:.1f} {unit}'}/s"
            if done < total:
                text += f", {human_seconds((total - done) / rate)} left"
        return f"{text} {detail}".rstrip()
