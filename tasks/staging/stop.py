"""Stop the threads of one transfer together: on the first failure, or on Ctrl-C."""

from __future__ import annotations

import threading


class Stopped(Exception):
    """Another thread ended the transfer; its failure is the one to raise."""


class Stop:
    """Set once; `cause` is the failure that set it, None for an interruption."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._lock = threading.Lock()
        self.cause: BaseException | None = None

    def set(self, cause: BaseException | None = None) -> None:
        with self._lock:
            if not self._event.is_set():
                self.cause = cause
                self._event.set()

    def is_set(self) -> bool:
        return self._event.is_set()

    def check(self) -> None:
        """Raise Stopped once the transfer has ended."""
        if self._event.is_set():
            raise Stopped
