"""Measure downtime during a rollout by polling the gateway with short questions.

Only an answer of the model tells: a vLLM that drains still answers `/health` and `/v1/models`, and a terminating pod is still sent
requests while no other is ready (kube-proxy falls back on it).

    SLIPWAY_API_KEY=… python -m tasks.rollout.downtime INSTRUCTIONS.json

As a program, in a Job in the cluster, it polls until it is ended and prints {"at": …, "seconds": …} after each poll.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tasks.cloud.plain_http import DIRECT, UNREACHABLE, Way, ask
from tasks.records.questions import PATHS, Route, question

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


def poll(
    base_url: str,
    key: str,
    served_name: str,
    route: Route,
    ended: threading.Event,
    seen: Callable[[float | None], None],
    clock: Callable[[], float] = time.monotonic,
    way: Way = DIRECT,
) -> None:
    """Ask `route` four times a second until `ended`; `seen` gets the seconds without an answer after each."""
    url, headers = f"{base_url}{PATHS[route]}", {"Authorization": f"Bearer {key}"}
    asked = question(route, served_name, tokens=1)
    downtime = Downtime()
    while not ended.is_set():
        began, ok = clock(), False
        with contextlib.suppress(*UNREACHABLE):  # no answer: that is what is counted
            ok = ask(url, headers, asked, seconds=TIMEOUT_SECONDS, way=way).status == 200
        downtime.saw(began, clock(), ok=ok)
        seen(downtime.until(clock()))
        ended.wait(EVERY_SECONDS)


class Poll:
    """Poll one endpoint from this process, in a thread, until `stop`."""

    def __init__(self, base_url: str, key: str, served_name: str, route: Route, way: Way = DIRECT) -> None:
        self._seconds: float | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(
            target=poll,
            args=(base_url, key, served_name, route, self._ended, self._saw),
            kwargs={"way": way},
            name="downtime",
            daemon=True,
        )
        self._thread.start()

    def _saw(self, seconds: float | None) -> None:
        self._seconds = seconds

    def stop(self) -> float | None:
        """End the polling; seconds without an answer, None where nothing ever answered."""
        self._ended.set()
        self._thread.join(TIMEOUT_SECONDS + 5.0)
        return self._seconds


def main() -> None:
    given = json.loads(Path(sys.argv[1]).read_text())

    def tell(seconds: float | None) -> None:
        print(json.dumps({"at": time.time(), "seconds": seconds}), flush=True)

    key, never = os.environ["SLIPWAY_API_KEY"], threading.Event()
    way = Way(given["connect_to"], given["authority"])
    poll(given["base_url"], key, given["served_name"], given["route"], never, tell, way=way)


def read_seconds(line: str) -> float | None:
    """The seconds without an answer in a line that `main` printed. Raises ValueError."""
    seconds = json.loads(line)["seconds"]
    return None if seconds is None else float(seconds)


if __name__ == "__main__":
    main()
