"""Sweep: the highest rate at which the objectives hold, and the settings that follow. It changes nothing that serves."""

from __future__ import annotations

from pydantic import Field

from flows.choices import EnvironmentName, ModelName, read_choice
from flows.graph import runbook
from flows.turn import turn
from tasks.infra.task import read_infrastructure
from tasks.records.results import Sweep
from tasks.rollout.task import keep_page, keep_sweep, ready_replicas, served_at, serving_release
from tasks.validation.sweep import sweepable
from tasks.validation.task import check_load, draw_page, find_knee, read_knee


@runbook(name="sweep", run_name="sweep {model} in {environment}")
def sweep(
    model: ModelName,
    environment: EnvironmentName,
    minutes: float = Field(30.0, gt=0, le=600, description="no step begins that might end later"),
    step_seconds: float = Field(60.0, ge=2, le=3600, description="the window of each rate, at most"),
) -> Sweep:
    """Find the knee of what serves, and write it into its release.

    Args:
        model: A file of models/, by its name.
        environment: A file of environments/, by its name.
        minutes: No step begins that might end later.
        step_seconds: The window of each rate, where the model's own is longer.
    """
    what, where = read_choice(model, environment)
    sweepable(what)
    check_load(what)
    with turn(where):
        storage, cluster = read_infrastructure(where)
        record = serving_release(what, where, storage)
        replicas = ready_replicas(what, where, cluster)
        tried = find_knee(what, where, cluster, served_at(record), replicas, minutes * 60, step_seconds)
        found = read_knee(what, where, tried, ready_replicas(what, where, cluster))
        keep_sweep(what, where, storage, record, found)
        keep_page(
            what,
            where,
            storage,
            record,
            draw_page(what, record.release, record.report, (record.release.id, found)),
            "sweep",
        )
        return found
