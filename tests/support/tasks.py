"""Prefect tasks and futures that run at once in this thread, and remember who waited for whom."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from prefect.futures import PrefectFuture, PrefectTaskRunFuture
from prefect.states import Completed
from prefect.utilities.annotations import quote

from flows.run.graph import Input


class NotReady(Exception):
    """An input of the task failed: it never ran."""


class StandInFuture(PrefectTaskRunFuture[Any]):
    """What `submit` of a stand-in gives. It runs until somebody waits for it."""

    def __init__(self, name: str, value: Any, error: BaseException | None) -> None:
        super().__init__(uuid4())
        self.name, self.running = name, True
        self._value, self.error = value, error

    @property
    def state(self) -> Any:
        return Completed()

    def wait(self, timeout: float | None = None) -> None:
        self.running = False

    def result(self, timeout: float | None = None, raise_on_failure: bool = True) -> Any:
        self.running = False
        if self.error:
            raise self.error
        return self._value

    def add_done_callback(self, fn: Callable[[PrefectFuture[Any]], None]) -> None:
        fn(self)


@dataclass
class Recorded:
    """Every call of the stand-ins, in order, and the edges between those that were submitted."""

    called: list[str] = field(default_factory=list)
    edges: dict[str, set[str]] = field(default_factory=dict)
    futures: list[StandInFuture] = field(default_factory=list)
    arguments: dict[str, tuple[Any, ...]] = field(default_factory=dict)

    @property
    def running(self) -> list[str]:
        return [future.name for future in self.futures if future.running]

    def before(self, name: str) -> set[str]:
        """All that `name` waits for, directly or through others."""
        found = set(self.edges[name])
        for other in self.edges[name]:
            found |= self.before(other)
        return found


@dataclass
class StandIn:
    """A task: `does` makes its result or raises; `label` names one run of it by its arguments."""

    name: str
    recorded: Recorded
    does: Callable[..., Any]
    label: Callable[..., str] | None = None
    task_run_name: str | None = None

    @property
    def fn(self) -> Callable[..., Any]:
        """The task outside of a flow."""
        return self

    def submit(
        self, *arguments: Any, return_state: bool = False, wait_for: Iterable[StandInFuture] = ()
    ) -> StandInFuture:
        arguments = tuple(one.future if isinstance(one, Input) else one for one in arguments)
        inputs = [one for one in arguments if isinstance(one, StandInFuture)]
        awaited = [*inputs, *wait_for]
        values = [_value(one) for one in arguments]
        name = self.label(*values) if self.label else self.name
        self.recorded.edges[name] = {future.name for future in awaited}
        future = self._run(name, values, [one for one in awaited if one.error])
        self.recorded.futures.append(future)
        return future

    def _run(self, name: str, values: list[Any], failed: list[StandInFuture]) -> StandInFuture:
        if failed:
            return StandInFuture(name, None, NotReady(name))
        try:
            return StandInFuture(name, self(*values), None)
        except Exception as error:  # noqa: BLE001  whatever the task is told to raise
            return StandInFuture(name, None, error)

    def __call__(self, *values: Any) -> Any:
        self.recorded.called.append(self.label(*values) if self.label else self.name)
        self.recorded.arguments[self.name] = values
        return self.does(*values)


def _value(argument: Any) -> Any:
    if isinstance(argument, StandInFuture):
        return argument._value
    return argument.unquote() if isinstance(argument, quote) else argument
