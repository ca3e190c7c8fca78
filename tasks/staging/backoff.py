"""One pause for all workers: when the hub says slow down to one of them, it means all of them."""

from __future__ import annotations

import random
import re
import threading
import time
from collections.abc import Callable, Mapping

from tasks.staging.stop import Stop

ATTEMPTS = 8
LONGEST_PAUSE = (
    310.0  # the hub counts requests in windows of 300 s: https://huggingface.co/docs/hub/rate-limits
)
_RATE_LIMIT = re.compile(r";\s*r=(\d+)\s*;\s*t=(\d+)")


def asked_pause(status: int, headers: Mapping[str, str]) -> float:
    """Seconds an answer asks its callers to stay away; 0 for none.

    `Retry-After` counts on a refusal. `RateLimit: "resolvers";r=0;t=55` comes on every answer and only asks
    for anything once nothing remains (r=0). https://www.ietf.org/archive/id/draft-ietf-httpapi-ratelimit-headers-09.html
    """
    pause = 0.0
    found = _RATE_LIMIT.search(headers.get("RateLimit", ""))
    if found and int(found[1]) == 0:
        pause = float(found[2])
    after = headers.get("Retry-After", "")
    if status in (429, 503) and after.isdigit():
        pause = max(pause, float(after))
    return min(pause, LONGEST_PAUSE)


def own_pause(attempt: int, chance: float) -> float:
    """Seconds before attempt `attempt` + 1 where nobody named a time: 0.25 s doubling to 8 s, half of it by chance."""
    return min(8.0, 0.25 * float(2**attempt)) * (0.5 + chance / 2)


class Backoff:
    """The moment before which no worker asks again."""

    def __init__(
        self,
        stop: Stop,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._stop, self._clock, self._sleep, self._chance = stop, clock, sleep, chance
        self._until = float("-inf")
        self._lock = threading.Lock()

    def heed(self, status: int, headers: Mapping[str, str]) -> float:
        """Read an answer; the pause it asks of everybody, in seconds."""
        pause = asked_pause(status, headers)
        if pause:
            with self._lock:
                self._until = max(self._until, self._clock() + pause)
        return pause

    def wait(self) -> None:
        """Until everybody may ask again. Raises Stopped when the transfer ends meanwhile."""
        self._until_then(lambda: self._until)

    def wait_alone(self, attempt: int) -> None:
        """One worker's own pause after a failed attempt, counted from 0."""
        then = self._clock() + own_pause(attempt, self._chance())
        self._until_then(lambda: then)

    def _until_then(self, moment: Callable[[], float]) -> None:
        while (left := moment() - self._clock()) > 0:
            self._stop.check()
            self._sleep(min(left, 0.5))
        self._stop.check()
