"""Tell whose the seconds of a deploy's run were, as a table of the run."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

from prefect.runtime import flow_run

from flows.run.timeline import Step, critical_path, overhead_seconds, read_steps
from flows.run.whose import TOLD, WHOLE, split
from tasks.records.model import Model
from tasks.records.quantities import human_seconds
from tasks.releases.records import ReleaseRecord
from tasks.task import show_table


def tell_seconds(model: Model, record: ReleaseRecord) -> dict[str, float]:
    """The seconds of this run so far, as a table of the run too; none outside a run."""
    run_id = flow_run.get_id()
    if not run_id:
        return {}
    steps, wall = read_steps(UUID(run_id))
    began = datetime.now(UTC) - timedelta(seconds=wall)
    report = record.report
    measured = report is not None and report.started_at >= began
    found = split(
        wall,
        [((one.at - began).total_seconds(), one.seconds) for one in record.starts],
        model.load.warmup + report.window_seconds if report and measured else 0.0,
    )
    show_table(f"seconds-{model.name}", rows(critical_path(steps), found), f"Whose the {wall:.0f} s were")
    return found


def rows(path: Sequence[Step], found: dict[str, float]) -> list[dict[str, str]]:
    """A row for each step that the run had to wait for, what ran between them, and whose all of it was. Pure."""
    table = [{"what": step.name, "took": human_seconds(step.took)} for step in path]
    table.append({"what": "between these steps", "took": human_seconds(overhead_seconds(path, found[WHOLE]))})
    table.append({"what": "in all", "took": human_seconds(found[WHOLE])})
    return [*table, *({"what": what, "took": human_seconds(found[name])} for name, what in TOLD.items())]
