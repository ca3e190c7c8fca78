"""Time that passes only while somebody sleeps."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Clock:
    """A clock and its sleep, safe between threads. `slept` has the seconds of each sleep."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now
        self.slept: list[float] = []
        self._lock = threading.Lock()

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        with self._lock:
            self.now += seconds
            self.slept.append(seconds)


def until(condition: Callable[[], object], seconds: float = 30.0) -> None:
    """Wait for a state in real time; fails the test after `seconds`, which hold on a busy machine."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.02)
