"""Wait for a state of the cloud: look, compare with a deadline, sleep; and the clock and sleep to do it by."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from tasks.cloud.interruption import nap
from tasks.records.errors import SlipwayError

T = TypeVar("T")
LOOK_SECONDS = 0.25


@dataclass(frozen=True)
class Time:
    """A steady clock in seconds, and a sleep by it. The default's sleep ends with Ctrl-C."""

    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = nap


REAL = Time()


def until(
    look: Callable[[], T | None],
    seconds: float,
    late: Callable[[], SlipwayError],
    time: Time = REAL,
    *,
    every: float = LOOK_SECONDS,
) -> T:
    """Look until there is something other than None or False, and return it. It is looked at least once.

    Raises what `late` makes once `seconds` are over, and whatever `look` raises.
    """
    deadline = time.clock() + seconds
    while (found := look()) is None or found is False:
        if time.clock() >= deadline:
            raise late()
        time.sleep(every)
    return found


def until_none(
    left: Callable[[], Sequence[T]],
    seconds: float,
    late: Callable[[Sequence[T]], SlipwayError],
    time: Time = REAL,
    *,
    every: float = LOOK_SECONDS,
) -> None:
    """Wait until nothing is left. `late` is given what was left at the last look."""
    seen: Sequence[T] = ()

    def look() -> bool:
        nonlocal seen
        seen = left()
        return not seen

    until(look, seconds, lambda: late(seen), time, every=every)


def changes(say: Callable[[str], None]) -> Callable[[str], None]:
    """Pass lines on to `say`, without those that repeat the one before."""
    last: str | None = None

    def hear(line: str) -> None:
        nonlocal last
        if line != last:
            last = line
            say(line)

    return hear
