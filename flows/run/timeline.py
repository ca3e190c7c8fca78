"""When each task of a run began and ended, and which of them the run had to wait for."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import UUID

from prefect import get_run_logger
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import FlowRun, State, StateType, TaskRun
from prefect.runtime import flow_run

from tasks.records.quantities import human_seconds
from tasks.task import show_table

# a step that begins later than this after its last input ended had something else to wait for
MOMENT_SECONDS = 0.25

# of a run: what a step takes at least that is named of the critical path
LONG_SHARE = 0.02

# among a task's inputs, the task that it is a part of: a phase (read in Prefect 3.8.8, task_engine.py)
PARENTS = "__parents__"

# labels of a run that waited for other runs on its cluster: when it began to, and for how many seconds
ASKED_LABEL, WAITED_LABEL = "slipway.asked", "slipway.waited"


@dataclass(frozen=True)
class Step:
    """One task run, in seconds since the run began; `after`: the ids of the task runs whose results it needed."""

    id: str
    name: str
    began: float
    ended: float
    after: tuple[str, ...] = ()

    @property
    def took(self) -> float:
        return self.ended - self.began


def critical_path(steps: Sequence[Step]) -> list[Step]:
    """The steps that followed one another up to the last end. None ends after the next one began. Pure.

    Before a step comes the last of its inputs to end; where it began more than a moment after that, or names no
    input because it was called in turn, whatever ended last before it began.
    """
    path: list[Step] = []
    current = max(steps, key=_end, default=None)
    while current:
        path.append(current)
        current = _before(current, [step for step in steps if step not in path])
    return path[::-1]


def _before(step: Step, others: Sequence[Step]) -> Step | None:
    ended = [other for other in others if other.ended <= step.began]
    awaited = max((other for other in ended if other.id in step.after), key=_end, default=None)
    if awaited and step.began - awaited.ended <= MOMENT_SECONDS:
        return awaited
    return max(ended, key=_end, default=None)


def _end(step: Step) -> tuple[float, float]:
    return step.ended, step.began


def overhead_seconds(path: Sequence[Step], wall: float) -> float:
    """Wall time in which no step of the critical path ran: the cost of orchestration."""
    return wall - sum(step.took for step in path)


def rows(steps: Sequence[Step], path: Sequence[Step]) -> list[dict[str, str]]:
    """One row for each step, in the order they began."""
    return [
        {
            "stage": step.name,
            "began": f"+{step.began:.1f} s",
            "took": human_seconds(step.took),
            "": "critical path" if step in path else "overlapped",
        }
        for step in sorted(steps, key=lambda step: (step.began, step.ended))
    ]


def lines(steps: Sequence[Step], wall: float, *, whole: bool = True) -> list[str]:
    """The timeline as text, with the cost of orchestration; no line for a run that ended before its first step.

    `whole`: every step; else, where a terminal has shown them, the long ones of the critical path.
    """
    if not steps:
        return []
    path = critical_path(steps)
    if not whole:
        long = [f"{step.name} {human_seconds(step.took)}" for step in path if step.took >= LONG_SHARE * wall]
        return [f"critical path: {', '.join(long)}", _in_all(path, wall)]
    width = max(len(step.name) for step in steps)
    table = [f"{r['stage']:<{width}} {r['began']:>9} {r['took']:>9}  {r['']}" for r in rows(steps, path)]
    return [*table, _in_all(path, wall)]


def _in_all(path: Sequence[Step], wall: float) -> str:
    cost = human_seconds(overhead_seconds(path, wall))
    return f"{human_seconds(wall)} in all, of which {cost} orchestration"


@contextmanager
def tell_timeline() -> Iterator[None]:
    """Log the run's timeline when the block ends, also when it fails."""
    try:
        yield
    finally:
        run_id = flow_run.get_id()
        if run_id:
            tell(UUID(run_id))


def tell(run_id: UUID) -> None:
    """The timeline as a table artifact and as lines of the run's log."""
    steps, wall = read_steps(run_id)
    if not steps:
        return
    show_table("timeline", rows(steps, critical_path(steps)), "Timeline of this run")
    for line in lines(steps, wall):
        get_run_logger().info("timeline: %s", line)


def lines_of(run_id: UUID, *, whole: bool = True) -> list[str]:
    """The timeline of an ended run, as text."""
    return lines(*read_steps(run_id), whole=whole)


def read_steps(run_id: UUID) -> tuple[list[Step], float]:
    """The run's steps as Prefect recorded them, and the seconds since the run began."""
    with get_client(sync_client=True) as client:
        run = client.read_flow_run(run_id)
        tasks = client.read_task_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[run_id])))
        states = client.read_flow_run_states(run_id)
    return steps_of(run, states, tasks)


def steps_of(run: FlowRun, states: Sequence[State], tasks: Sequence[TaskRun]) -> tuple[list[Step], float]:
    """The steps of a run's last attempt that have ended, and its seconds so far. Pure but for the clock of a live run.

    After a retry from the UI the run keeps its first start and the tasks of every attempt. A phase is no step: its tasks are.
    """
    phases = _phases(tasks)
    began = _attempt_began(states)
    if began is None:
        return [], 0.0
    steps = [
        Step(
            str(task.id),
            task.name,
            task.start_time.timestamp() - began,
            task.end_time.timestamp() - began,
            tuple(
                str(given.id)
                for name, inputs in task.task_inputs.items()
                for given in inputs
                if given.input_type == "task_run" and name != PARENTS
            ),
        )
        for task in tasks
        if task.id not in phases
        and task.start_time
        and task.end_time
        and task.start_time.timestamp() >= began
    ]
    ended = run.end_time.timestamp() if run.end_time else 0.0
    return [*_waiting(run, began), *steps], (ended if ended >= began else time.time()) - began


def _phases(tasks: Sequence[TaskRun]) -> set[UUID]:
    """The tasks that others ran in. Prefect notes an input that still ran as well; what it went to begins after its end."""
    ended = {task.id: task.end_time for task in tasks}
    return {
        given.id
        for task in tasks
        for given in task.task_inputs.get(PARENTS, ())
        if given.input_type == "task_run"
        and not (task.start_time and (end := ended.get(given.id)) and end <= task.start_time)
    }


def _attempt_began(states: Sequence[State]) -> float | None:
    """When the last attempt began. A pause does not end an attempt, a final state or a new schedule does."""
    began, over = None, True
    for state in sorted(states, key=lambda state: state.timestamp):
        if state.type == StateType.RUNNING and over:
            began, over = state.timestamp.timestamp(), False
        elif state.is_final() or state.type == StateType.SCHEDULED:
            over = True
    return began


def _waiting(run: FlowRun, began: float) -> list[Step]:
    """The time a run waited for its turn on the cluster, as a step of its own: it is no cost of orchestration."""
    asked, waited = run.labels.get(ASKED_LABEL), run.labels.get(WAITED_LABEL)
    if not isinstance(asked, int | float) or not isinstance(waited, int | float) or not waited:
        return []
    since = asked - began
    return [Step("turn", "wait for other runs", since, since + waited)] if since >= 0 else []
