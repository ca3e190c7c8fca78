"""Measure downtime during a rollout by polling the gateway for one-token completions.

Only a completion tells: a vLLM that drains still answers `/health` and `/v1/models`, and a terminating pod is still sent
requests while no other is ready (kube-proxy falls back on it).
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import httpx

from tasks.records.results import Endpoint

EVERY_SECONDS = 0.25
# long, because an answer that queues is an answer: only what the gateway refuses counts
TIMEOUT_SECONDS = 30.0


@dataclass
class Downtime:
    """The sum of the times without an answer, each from the last answer before a failure to the next answer.

    Nothing is counted before the first answer. Times are seconds of any steady clock.
    """

    answered: bool = False
    seconds: float = 0.0
    _last: float = 0.0
    _failing: bool = False

    def saw(self, began: float, ended: float, *, ok: bool) -> None:
        """Add one request, sent at `began` and settled at `ended`."""
        if not ok:
            self._failing = self.answered
            return
        if self._failing:
            self.seconds += ended - self._last
        self._last, self._failing, self.answered = began, False, True

    def until(self, now: float) -> float | None:
        """Seconds without an answer up to `now`; None where nothing ever answered."""
        if not self.answered:
            return None
        return self.seconds + (now - self._last if self._failing else 0.0)


class Poll:
    """Poll one endpoint four times a second, in a thread, until `stop`."""

    def __init__(
        self, base_url: str, key: str, served_name: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._url, self._headers = f"{base_url}/completions", {"Authorization": f"Bearer {key}"}
        self._question = {"model": served_name, "prompt": "Hello", "max_tokens": 1}
        self._downtime, self._clock = Downtime(), clock
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._ask, name="downtime", daemon=True)
        self._thread.start()

    def _ask(self) -> None:
        with httpx.Client(timeout=TIMEOUT_SECONDS, headers=self._headers) as http:
            while not self._ended.is_set():
                began, ok = self._clock(), False
                with contextlib.suppress(httpx.HTTPError):  # no answer: that is what is counted
                    ok = http.post(self._url, json=self._question).status_code == 200
                self._downtime.saw(began, self._clock(), ok=ok)
                self._ended.wait(EVERY_SECONDS)

    def stop(self) -> float | None:
        """End the polling; seconds without an answer, None where nothing ever answered."""
        self._ended.set()
        self._thread.join(TIMEOUT_SECONDS + 5.0)
        return self._downtime.until(self._clock())


@contextlib.contextmanager
def polling(endpoint: Endpoint | None, key: str) -> Iterator[Poll | None]:
    """Poll during the block; None where there is no endpoint yet."""
    poll = Poll(endpoint.base_url, key, endpoint.served_name) if endpoint else None
    try:
        yield poll
    finally:
        if poll:
            poll.stop()
