"""The tasks of one run: submit them with their dependencies, wait for all of them, leave none running."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import Any, ParamSpec, TypeVar, cast

from prefect import Task
from prefect.futures import PrefectFuture
from prefect.utilities.annotations import quote

P = ParamSpec("P")
R = TypeVar("R")

# after a failure or Ctrl-C each task is waited for so long
SETTLE_SECONDS = 60.0


def result_of(future: PrefectFuture[R]) -> R:
    """A future typed as its result, for an argument of `submit`: Prefect puts the result in its place."""
    return cast(R, future)


@dataclass
class Graph:
    """The futures of one run, in the order they were submitted."""

    futures: list[PrefectFuture[Any]] = field(default_factory=list)

    def submit(self, task: Task[P, R], *arguments: P.args, **named: P.kwargs) -> PrefectFuture[R]:
        """Start `task` once the futures among its arguments have results: `task.submit`, with checked types."""
        return self.wait_for().submit(task, *arguments, **named)

    def wait_for(self, *futures: PrefectFuture[Any]) -> After:
        """`wait_for(a, b).submit(task, ...)`: start `task` after `a` and `b` too, whose results it does not take."""
        return After(self, futures)

    def wait(self) -> None:
        """Wait for every task, then raise the first error in the order of submission.

        A task whose input failed never ran and says nothing of the cause; the failed input comes before it.
        """
        for future in self.futures:
            future.wait()
        for future in self.futures:
            future.result()

    def settle(self, patience: float = SETTLE_SECONDS) -> None:
        """Wait for what still runs after a failure, up to `patience` seconds for each task. Raises nothing."""
        for future in self.futures:
            with contextlib.suppress(TimeoutError):
                future.wait(timeout=patience)


@dataclass(frozen=True)
class After:
    """Submits to `graph` what starts after `futures`."""

    graph: Graph
    futures: tuple[PrefectFuture[Any], ...]

    def submit(self, task: Task[P, R], *arguments: P.args, **named: P.kwargs) -> PrefectFuture[R]:
        """As `Graph.submit`, after `futures`."""
        future = task.submit(
            *(_quoted(argument) for argument in arguments),
            **{name: _quoted(argument) for name, argument in named.items()},
            return_state=False,
            wait_for=list(self.futures),
        )
        self.graph.futures.append(future)
        return future


def _quoted(argument: Any) -> Any:
    """Hide plain values from Prefect's search for inputs: it goes by `id()`, and finds tasks that share a string."""
    return argument if isinstance(argument, PrefectFuture) else quote(argument)
