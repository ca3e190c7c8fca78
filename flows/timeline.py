"""When each task of a run began, how long it took, and which of them the run had to wait for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from prefect import get_run_logger
from prefect.artifacts import create_table_artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.runtime import flow_run

from tasks.records.quantities import human_seconds


@dataclass(frozen=True)
class Step:
    """One task run; `began` in seconds since the run's own start, `after` the steps it waited for."""

    name: str
    began: float
    took: float
    after: tuple[str, ...] = ()

    @property
    def ended(self) -> float:
        return self.began + self.took


def critical_path(steps: Sequence[Step]) -> list[str]:
    """From the step that ended last back through the one each had to wait for longest. Pure.

    Where a step names nobody it waited for (it was called in turn), that is the last step to end before it.
    """
    known = {step.name: step for step in steps}
    path: list[str] = []
    current = max(steps, key=lambda step: step.ended, default=None)
    while current and current.name not in path:
        path.append(current.name)
        waited = [known[name] for name in current.after if name in known]
        if not waited:
            began = current.began
            waited = [step for step in steps if step.ended <= began + 0.01 and step.name not in path]
        current = max(waited, key=lambda step: step.ended, default=None)
    return path[::-1]


def overhead_seconds(steps: Sequence[Step], path: Sequence[str], wall: float) -> float:
    """Wall time that no step of the critical path accounts for: what orchestrating cost."""
    return wall - sum(step.took for step in steps if step.name in path)


def rows(steps: Sequence[Step], path: Sequence[str]) -> list[dict[str, str]]:
    return [
        {
            "stage": step.name,
            "began": f"+{step.began:.1f} s",
            "took": human_seconds(step.took),
            "": "critical path" if step.name in path else "overlapped",
        }
        for step in sorted(steps, key=lambda step: step.began)
    ]


@contextmanager
def tell_timeline() -> Iterator[None]:
    """Say the run's timeline when the block ends, also when it ends badly."""
    try:
        yield
    finally:
        run_id = flow_run.get_id()
        if run_id:
            tell(UUID(run_id))


def tell(run_id: UUID) -> None:
    steps, wall = read_steps(run_id)
    if not steps:
        return
    create_table_artifact(
        rows(steps, critical_path(steps)), key="timeline", description="Timeline of this run"
    )
    for line in lines(steps, wall):
        get_run_logger().info("timeline: %s", line)


def lines(steps: Sequence[Step], wall: float) -> list[str]:
    """The timeline as text, with what orchestrating cost."""
    path = critical_path(steps)
    width = max(len(step.name) for step in steps)
    told = [f"{r['stage']:<{width}} {r['began']:>9} {r['took']:>9}  {r['']}" for r in rows(steps, path)]
    cost = overhead_seconds(steps, path, wall)
    return [*told, f"{human_seconds(wall)} in all, of which {human_seconds(cost)} orchestration"]


def rows_of(run_id: UUID) -> list[str]:
    """The timeline of an ended run, as text."""
    return lines(*read_steps(run_id))


def read_steps(run_id: UUID) -> tuple[list[Step], float]:
    """The run's ended tasks as Prefect recorded them, and the seconds since the run began."""
    with get_client(sync_client=True) as client:
        run = client.read_flow_run(run_id)
        tasks = client.read_task_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[run_id])))
    start = run.start_time
    if start is None:
        return [], 0.0
    names: Mapping[UUID, str] = {task.id: task.name for task in tasks}
    steps = [
        Step(
            task.name,
            (task.start_time - start).total_seconds(),
            task.total_run_time.total_seconds(),
            tuple(
                names[entry.id]
                for entries in task.task_inputs.values()
                for entry in entries
                if entry.input_type == "task_run" and entry.id in names
            ),
        )
        for task in tasks
        if task.start_time and task.end_time
    ]
    return steps, ((run.end_time or datetime.now(start.tzinfo)) - start).total_seconds()
