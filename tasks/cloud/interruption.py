"""Ctrl-C reaches every wait: whoever sleeps here, or reads from a program, ends within half a second."""

from __future__ import annotations

import threading

from tasks.records.errors import Interrupted

STOP = threading.Event()


def check() -> None:
    """Raises Interrupted once somebody asked to stop."""
    if STOP.is_set():
        raise Interrupted(
            "interrupted",
            next_command="run the same command again: it continues from what is there",
        )


def nap(seconds: float) -> None:
    """time.sleep that Ctrl-C ends. Raises Interrupted."""
    STOP.wait(seconds)
    check()
