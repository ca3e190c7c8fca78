"""How long nobody answered while a release took over: asked at the gateway the whole time, where users ask.

For a completion of one token: a vLLM that drains still answers `/health` and `/v1/models`, and a pod that ends is still
sent requests while no other is ready (kube-proxy falls back on it), so only a completion tells.
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
TIMEOUT_SECONDS = 30.0  # an answer that queues is one: only what the gateway refuses is a gap


@dataclass
class Gap:
    """Seconds without an answer, added up: each from the last answer before a failure to the next answer.

    `answered` is False until the first answer; nothing is counted before it. Times are of any steady clock.
    """

    answered: bool = False
    seconds: float = 0.0
    _last: float = 0.0
    _failing: bool = False

    def saw(self, began: float, ended: float, *, ok: bool) -> None:
        """One question, asked at `began` and settled at `ended`."""
        if not ok:
            self._failing = self.answered
            return
        if self._failing:
            self.seconds += ended - self._last
        self._last, self._failing, self.answered = began, False, True

    def until(self, now: float) -> float | None:
        """The gap so far; one that has not ended lasts until `now`. None where nothing ever answered."""
        if not self.answered:
            return None
        return self.seconds + (now - self._last if self._failing else 0.0)


class Watch:
    """One endpoint, asked four times a second in a thread until `stop`."""

    def __init__(
        self, base_url: str, key: str, served_name: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._url, self._headers = f"{base_url}/completions", {"Authorization": f"Bearer {key}"}
        self._question = {"model": served_name, "prompt": "Hello", "max_tokens": 1}
        self._gap, self._clock = Gap(), clock
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._ask, name="gap", daemon=True)
        self._thread.start()

    def _ask(self) -> None:
        with httpx.Client(timeout=TIMEOUT_SECONDS, headers=self._headers) as http:
            while not self._ended.is_set():
                began, ok = self._clock(), False
                with contextlib.suppress(httpx.HTTPError):  # no answer: that is what is counted
                    ok = http.post(self._url, json=self._question).status_code == 200
                self._gap.saw(began, self._clock(), ok=ok)
                self._ended.wait(EVERY_SECONDS)

    def stop(self) -> float | None:
        """Seconds nobody answered, None where nobody did from the beginning."""
        self._ended.set()
        self._thread.join(TIMEOUT_SECONDS + 5.0)
        return self._gap.until(self._clock())


@contextlib.contextmanager
def watching(endpoint: Endpoint | None, key: str) -> Iterator[Watch | None]:
    """A Watch that ends with the block; None where there is nothing to ask."""
    watch = Watch(endpoint.base_url, key, endpoint.served_name) if endpoint else None
    try:
        yield watch
    finally:
        if watch:
            watch.stop()
