"""The tasks of one run: submit them with their dependencies, wait for all of them, leave none running."""

from __future__ import annotations

import inspect
import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ParamSpec, TypeVar, cast

from prefect import Task
from prefect.client.schemas.objects import State
from prefect.exceptions import TerminationSignal
from prefect.futures import PrefectFuture, PrefectTaskRunFuture
from prefect.states import Pending
from prefect.utilities.annotations import quote

from tasks.records.stop import STOP
from tasks.task import tell_step

P = ParamSpec("P")
R = TypeVar("R")


def result_of(future: PrefectFuture[R]) -> R:
    """A future typed as its result, for an argument of `submit`: Prefect puts the result in its place."""
    return cast(R, future)


class Input(PrefectTaskRunFuture[R]):
    """A future among a task's arguments, Pending until the task waits for it.

    Prefect 3.8.8 (`_infer_parent_task_runs`) takes a task whose input is Running for a part of that input: its graph then
    hides the one in the other, as often as the input's thread was the quicker one.
    """

    def __init__(self, future: PrefectFuture[R]) -> None:
        super().__init__(future.task_run_id)
        self.future = future
        self._awaited = False

    @property
    def state(self) -> State[R]:
        return self.future.state if self._awaited else Pending()

    def wait(self, timeout: float | None = None) -> None:
        self.future.wait(timeout)
        self._awaited = True

    def result(self, timeout: float | None = None, raise_on_failure: bool = True) -> R:
        return self.future.result(timeout, raise_on_failure)

    def add_done_callback(self, fn: Callable[[PrefectFuture[R]], None]) -> None:
        self.future.add_done_callback(fn)


@dataclass
class Graph:
    """The futures of one run, in the order they were submitted."""

    named: list[tuple[str, PrefectFuture[Any]]] = field(default_factory=list)

    @property
    def futures(self) -> list[PrefectFuture[Any]]:
        return [future for _, future in self.named]

    def submit(self, task: Task[P, R], *arguments: P.args, **named: P.kwargs) -> PrefectFuture[R]:
        """Start `task` once the futures among its arguments have results: `task.submit`, with checked types."""
        return self.wait_for().submit(task, *arguments, **named)

    def wait_for(self, *futures: PrefectFuture[Any] | State[Any]) -> After:
        """`wait_for(a, b).submit(task, ...)`: start `task` after `a` and `b` too, whose results it does not take.

        The state of what has ended draws the edge alone.
        """
        return After(self, futures)

    def wait(self) -> None:
        """Wait for every task, then raise the first error in the order of submission.

        A task whose input failed never ran and says nothing of the cause; the failed input comes before it.
        """
        for future in self.futures:
            future.wait()
        for future in self.futures:
            future.result()

    def settle(self) -> None:
        """Wait until nothing runs any more, also when a signal comes meanwhile. Raises nothing."""
        for future in self.futures:
            settled = False
            while not settled:
                try:
                    future.wait()
                    settled = True
                except (TerminationSignal, KeyboardInterrupt):
                    STOP.ask("interrupted")
                # its own failure, or a pause that Prefect raises once it has ended
                except BaseException:  # noqa: BLE001
                    settled = True

    def stopped(self) -> list[str]:
        """The tasks that did not complete, by name: what a stopped run left undone."""
        return [name for name, future in self.named if not future.state.is_completed()]


@dataclass(frozen=True)
class After:
    """Submits to `graph` what starts after `futures`."""

    graph: Graph
    futures: tuple[PrefectFuture[Any] | State[Any], ...]

    def submit(self, task: Task[P, R], *arguments: P.args, **named: P.kwargs) -> PrefectFuture[R]:
        """As `Graph.submit`, after `futures`."""
        future = task.submit(
            *(_handed(argument) for argument in arguments),
            **{name: _handed(argument) for name, argument in named.items()},
            return_state=False,
            wait_for=[edge(one) if isinstance(one, State) else one for one in self.futures],
        )
        self.graph.named.append((task.name, future))
        tell_step(future.task_run_id, waiting_name(task, arguments, named), "waiting")
        return future


def waiting_name(task: Task[..., Any], arguments: Sequence[Any], named: Mapping[str, Any]) -> str:
    """The name its run will have, as far as it is known before its inputs are there: `GPU nodes of …`."""
    template = task.task_run_name
    if not isinstance(template, str):
        return task.name
    given = inspect.signature(task.fn).bind(*arguments, **named).arguments
    text = ""
    for before, what, _, _ in string.Formatter().parse(template):
        text += before
        root = (what or "").partition(".")[0]
        if root:
            known = not isinstance(given.get(root), PrefectFuture)
            text += f"{{{what}}}".format(**given) if known else "…"
    return text


def edge(ended: State[Any]) -> State[Any]:
    """The state without its result: Prefect searches that for what other tasks gave, and draws an edge for each.

    True in its place: a completed state without data raises MissingResult where it is waited for (3.8.8), and a bool is
    taken for no task's result.
    """
    return ended.model_copy(update={"data": True})


def _handed(argument: Any) -> Any:
    """Hide plain values from Prefect's search for inputs: it goes by `id()`, and finds tasks that share a string."""
    return Input(argument) if isinstance(argument, PrefectFuture) else quote(argument)
