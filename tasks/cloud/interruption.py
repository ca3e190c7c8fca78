"""Sleeps and checks that a request to stop (Ctrl-C) ends within half a second."""

from __future__ import annotations

from tasks.records.errors import Interrupted
from tasks.records.stop import STOP


def check() -> None:
    """Raise Interrupted after a request to stop."""
    if STOP.is_set():
        raise Interrupted(
            "interrupted",
            next_command="run the same command again: it continues from what is there",
        )


def nap(seconds: float) -> None:
    """Sleep until `seconds` have passed or a stop is requested. Raises Interrupted."""
    STOP.wait(seconds)
    check()
