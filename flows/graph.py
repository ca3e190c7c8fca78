"""How a flow says what runs beside what: a task is started, and waits only for what it is handed."""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, ParamSpec, TypeVar, get_type_hints

from prefect import Flow, Task, flow
from prefect.futures import PrefectFuture
from prefect.task_runners import ThreadPoolTaskRunner

from tasks.records.errors import SlipwayError
from tasks.records.stop import STOP
from tasks.task import show_markdown

_started: deque[PrefectFuture[Any]] = deque(maxlen=256)  # what `settle` waits for

P = ParamSpec("P")
R = TypeVar("R")


def start(task: Task[P, R], *arguments: Any, after: Iterable[PrefectFuture[Any]] = ()) -> PrefectFuture[R]:
    """Start `task` once every future among `arguments` and `after` is there; the graph shows both as edges."""
    future = task.submit(*arguments, return_state=False, wait_for=list(after))
    _started.append(future)
    return future


def runbook(*, name: str, run_name: str) -> Callable[[Callable[P, R]], Flow[P, R]]:
    """A flow whose failure explains itself in the run's artifacts: cause, evidence, next command."""

    def decorate(function: Callable[P, R]) -> Flow[P, R]:
        @functools.wraps(function)
        def explained(*arguments: P.args, **named: P.kwargs) -> R:
            try:
                return function(*arguments, **named)
            except SlipwayError as error:
                show_markdown("failure", as_markdown(error), error.cause)
                raise

        # Prefect makes the form from these: names are looked up where the function was written, not here
        explained.__signature__ = inspect.signature(function, eval_str=True)  # type: ignore[attr-defined]
        explained.__annotations__ = get_type_hints(function, include_extras=True)
        decorated: Flow[P, R] = flow(
            name=name,
            flow_run_name=run_name,
            task_runner=ThreadPoolTaskRunner(max_workers=12),  # type: ignore[arg-type]
        )(explained)
        return decorated

    return decorate


def as_markdown(error: SlipwayError) -> str:
    """What went wrong as a page: the cause, what was seen, what to do."""
    parts = [f"## {error.cause}"]
    if error.evidence:
        parts.append("```\n" + "\n".join(error.evidence) + "\n```")
    if error.next_command:
        parts.append(f"**Next:** `{error.next_command}`")
    return "\n\n".join(parts)


def wait_for_all(futures: Iterable[PrefectFuture[Any]]) -> None:
    """Wait for every one of them, then raise the first error there was: none is left running behind a failure.

    In the order they need each other: what waited for a failed task never ran, and says nothing of why.
    """
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
