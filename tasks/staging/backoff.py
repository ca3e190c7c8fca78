"""Pause and retry, shared by all workers: a hub that tells one of them to slow down means all."""

from __future__ import annotations

import random
import re
import threading
from collections.abc import Callable, Mapping

from tasks.cloud.waiting import REAL, Time
from tasks.records.errors import HubUnavailable, SlipwayError
from tasks.records.quantities import human_seconds
from tasks.staging.stop import Stop

ATTEMPTS = 8
# seconds: the hub counts requests in windows of 300 s, https://huggingface.co/docs/hub/rate-limits
LONGEST_PAUSE = 310.0
_RATE_LIMIT = re.compile(r";\s*r=(\d+)\s*;\s*t=(\d+)")


def asked_pause(status: int, headers: Mapping[str, str]) -> float:
    """Seconds an answer asks its callers to wait; 0 for none.

    `Retry-After` counts on a refusal. `RateLimit: "resolvers";r=0;t=55` is on every answer and asks for a wait only
    once nothing remains (r=0). https://www.ietf.org/archive/id/draft-ietf-httpapi-ratelimit-headers-09.html
    """
    pause = 0.0
    limit = _RATE_LIMIT.search(headers.get("RateLimit", ""))
    if limit and int(limit[1]) == 0:
        pause = float(limit[2])
    after = headers.get("Retry-After", "")
    if status in (429, 503) and after.isdigit():
        pause = max(pause, float(after))
    return min(pause, LONGEST_PAUSE)


def own_pause(attempt: int, chance: float) -> float:
    """Seconds before attempt `attempt` + 1 where the hub named no time: 0.25 s doubling to 8 s, half of it random."""
    return min(8.0, 0.25 * float(2**attempt)) * (0.5 + chance / 2)


def describe_retry(problem: SlipwayError, failed: int) -> str:
    """What is retried and why, in one line. `failed`: attempts before; 0 where bytes came in the last one."""
    # HubUnavailable's cause is about the end of the retries, its evidence about one request
    why = problem.evidence[0] if isinstance(problem, HubUnavailable) and problem.evidence else problem.cause
    return f"{why}: attempt {failed + 1} of {ATTEMPTS}"


class Backoff:
    """The time before which no worker asks again. `say` hears of each retry."""

    def __init__(
        self,
        stop: Stop,
        *,
        say: Callable[[str], None] = lambda line: None,
        time: Time = REAL,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._stop, self._say, self._time, self._chance = stop, say, time, chance
        self._until = float("-inf")
        self._said: dict[str, float] = {}  # lines, and until when they are not repeated
        self._lock = threading.Lock()

    def heed(self, status: int, headers: Mapping[str, str]) -> float:
        """Read an answer. Returns the pause it asks of every worker, in seconds."""
        pause = asked_pause(status, headers)
        if pause:
            with self._lock:
                now = self._time.clock()
                longer = now + pause > max(self._until, now) + 1.0
                self._until = max(self._until, now + pause)
            if longer and status < 400:  # a refusal is reported by `again`
                self._say(f"the hub allows no request for {human_seconds(pause)}: waiting")
        return pause

    def wait(self) -> None:
        """Wait until the workers may ask again. Raises Stopped when the transfer ends meanwhile."""
        self._until_then(lambda: self._until)

    def again(self, failed: int, problem: SlipwayError, pause: float = 0.0) -> None:
        """After `failed` attempts: say why there is another and when, and wait for it. Does nothing after the last.

        `pause`: what `heed` returned for the answer, 0 where it named no time. Raises Stopped.
        """
        if failed >= ATTEMPTS:
            return
        seconds = pause or own_pause(failed, self._chance())
        then = self._time.clock() + seconds
        line = describe_retry(problem, failed)
        if self._is_news(line, then):
            self._say(f"{line} in {human_seconds(seconds)}")
        self._until_then(lambda: then)

    def _is_news(self, line: str, until: float) -> bool:
        """False where another worker, reading another part of the same file, has just said the same."""
        with self._lock:
            now = self._time.clock()
            self._said = {each: end for each, end in self._said.items() if end > now}
            return self._said.setdefault(line, until) == until

    def _until_then(self, moment: Callable[[], float]) -> None:
        while (left := moment() - self._time.clock()) > 0:
            self._stop.check()
            self._time.sleep(min(left, 0.5))
        self._stop.check()
