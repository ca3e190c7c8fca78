"""How a flow says what runs beside what: a task is started, and waits only for what it is handed."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Iterable
from typing import Any, ParamSpec, TypeVar

from prefect import Task
from prefect.futures import PrefectFuture

from tasks.cloud.interruption import STOP

_started: deque[PrefectFuture[Any]] = deque(maxlen=256)  # what `settle` waits for

P = ParamSpec("P")
R = TypeVar("R")


def start(task: Task[P, R], *arguments: Any, after: Iterable[PrefectFuture[Any]] = ()) -> PrefectFuture[R]:
    """Start `task` once every future among `arguments` and `after` is there; the graph shows both as edges."""
    future = task.submit(*arguments, return_state=False, wait_for=list(after))
    _started.append(future)
    return future


def wait_for_all(futures: Iterable[PrefectFuture[Any]]) -> None:
    """Wait for every one of them, then raise the first error there was: none is left running behind a failure."""
    started = list(futures)
    for future in started:
        future.wait()
    for future in started:
        future.result()


def settle(patience: float = 60.0) -> None:
    """After a failure or Ctrl-C: wait for what still runs to end, so that putting things back meets nobody.

    Ctrl-C has told all of it to stop; afterwards waits are possible again.
    """
    for future in _started:
        with contextlib.suppress(TimeoutError):
            future.wait(timeout=patience)
    _started.clear()
    STOP.clear()
