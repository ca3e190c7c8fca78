"""Phases of a run: a task that holds the tasks of one part of it. The UI's graph folds a phase to one node, and opens it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import prefect
from prefect.client.schemas.objects import State
from prefect.exceptions import Pause, TerminationSignal
from prefect.runtime import flow_run
from prefect.states import Cancelled, Failed

from flows.run.graph import Graph, edge
from tasks.records.errors import SlipwayError
from tasks.records.stop import STOP
from tasks.task import SETTINGS

R = TypeVar("R")


@dataclass(frozen=True)
class Phase(Generic[R]):
    """A phase that completed. `ended`: what begins after it is drawn after it; none outside a run of Prefect."""

    result: R
    ended: tuple[State[Any], ...] = ()


def phase(name: str, body: Callable[[Graph], R], *, after: tuple[State[Any], ...] = ()) -> Phase[R]:
    """Run `body` with a graph of its own, whose tasks have all ended when the phase ends. Raises what it raises.

    A nested task and not a subflow: docs/decisions.md. It runs in this thread, which gets the signals.
    """

    def run() -> Any:
        with tasks_of_this_phase() as graph:
            return body(graph)

    if not flow_run.get_id():
        return Phase(run())

    paused: list[Pause] = []

    def told() -> Any:
        try:
            return run()
        except SlipwayError as error:
            # raised, Prefect would log it with a traceback, as it has done for the task that failed
            return Failed(message=error.cause, data=error)
        except Pause as pause:
            # raised, it would leave the phase Running for ever; a resumed run begins another one
            paused.append(pause)
            return Cancelled(message="the run is paused")

    made = prefect.task(name=name, task_run_name=name, **SETTINGS)(told)
    ended: State[Any] = made(return_state=True, wait_for=[edge(one) for one in after])
    if paused:
        raise paused[0]
    return Phase(ended.result(), (ended,))


@contextmanager
def tasks_of_this_phase() -> Iterator[Graph]:
    """A graph whose tasks have all ended when the block ends, also when it fails; a signal stops them.

    A pause does not: Prefect raises it where a task would begin, and what runs ends by itself.
    """
    graph = Graph()
    try:
        yield graph
    except BaseException as ended:
        if isinstance(ended, TerminationSignal):
            STOP.ask("interrupted")
        graph.settle()
        for name in graph.stopped():
            ended.add_note(name)
        raise
    graph.settle()
