"""How a flow says what runs beside what: a task is started, and waits only for what it is handed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ParamSpec, TypeVar

from prefect import Task
from prefect.futures import PrefectFuture

P = ParamSpec("P")
R = TypeVar("R")


def start(task: Task[P, R], *arguments: Any, after: Iterable[PrefectFuture[Any]] = ()) -> PrefectFuture[R]:
    """Start `task` once every future among `arguments` and `after` is there; the graph shows both as edges."""
    return task.submit(*arguments, return_state=False, wait_for=list(after))


def wait_for_all(futures: Iterable[PrefectFuture[Any]]) -> None:
    """Wait for every one of them, then raise the first error there was: none is left running behind a failure."""
    started = list(futures)
    for future in started:
        future.wait()
    for future in started:
        future.result()
