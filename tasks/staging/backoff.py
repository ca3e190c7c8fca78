"""One pause for all workers: when the hub says slow down to one of them, it means all of them."""

from __future__ import annotations

import random
import re
import threading
import time
from collections.abc import Callable, Mapping

from tasks.records.errors import HubUnavailable, SlipwayError
from tasks.records.quantities import human_seconds
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


def told(problem: SlipwayError, failed: int) -> str:
    """What is tried again and why, in one line; `failed` attempts came before, 0 where bytes came in the last one."""
    # The cause of HubUnavailable speaks of the end of the retries, its evidence of the one request.
    why = problem.evidence[0] if isinstance(problem, HubUnavailable) and problem.evidence else problem.cause
    return f"{why}: attempt {failed + 1} of {ATTEMPTS}"


class Backoff:
    """The moment before which no worker asks again. `say` hears of each attempt that is to be made again."""

    def __init__(
        self,
        stop: Stop,
        *,
        say: Callable[[str], None] = lambda line: None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._stop, self._say = stop, say
        self._clock, self._sleep, self._chance = clock, sleep, chance
        self._until = float("-inf")
        self._said: dict[str, float] = {}  # lines and until when they are not said again
        self._lock = threading.Lock()

    def heed(self, status: int, headers: Mapping[str, str]) -> float:
        """Read an answer; the pause it asks of everybody, in seconds."""
        pause = asked_pause(status, headers)
        if pause:
            with self._lock:
                now = self._clock()
                longer = now + pause > max(self._until, now) + 1.0
                self._until = max(self._until, now + pause)
            if longer and status < 400:  # a refusal is told by `again`
                self._say(f"the hub allows no request for {human_seconds(pause)}: waiting")
        return pause

    def wait(self) -> None:
        """Until everybody may ask again. Raises Stopped when the transfer ends meanwhile."""
        self._until_then(lambda: self._until)

    def again(self, failed: int, problem: SlipwayError, pause: float = 0.0) -> None:
        """After `failed` attempts: say why there is another and when, and wait for it; nothing after the last.

        `pause`: what `heed` gave for the answer, 0 where nobody named a time. Raises Stopped.
        """
        if failed >= ATTEMPTS:
            return
        seconds = pause or own_pause(failed, self._chance())
        then = self._clock() + seconds
        line = told(problem, failed)
        if self._is_news(line, then):
            self._say(f"{line} in {human_seconds(seconds)}")
        self._until_then(lambda: then)

    def _is_news(self, line: str, until: float) -> bool:
        """False where another worker, which reads another part of the same file, has just said the same."""
        with self._lock:
            now = self._clock()
            self._said = {each: end for each, end in self._said.items() if end > now}
            return self._said.setdefault(line, until) == until

    def _until_then(self, moment: Callable[[], float]) -> None:
        while (left := moment() - self._clock()) > 0:
            self._stop.check()
            self._sleep(min(left, 0.5))
        self._stop.check()
