"""Sweep: the highest rate at which the objectives hold, and the settings that follow. It changes nothing that serves."""

from __future__ import annotations

from pydantic import Field

from flows.run.choices import EnvironmentName, Measured, ModelName, read_choice
from flows.run.runbook import runbook
from flows.run.turn import turn
from tasks.infra.task import read_infrastructure
from tasks.records.reports import Sweep
from tasks.releases.task import keep_page, keep_sweep, serving_release
from tasks.rollout.task import ready_replicas
from tasks.validation.task import check_load, check_sweepable, draw_page, find_knee, read_knee


@runbook(name="slipway-sweep", run_name="sweep {model} in {environment}")
def sweep(
    model: ModelName,
    environment: EnvironmentName,
    minutes: float = Field(30.0, gt=0, le=600, description="no step begins that might end later"),
    step_seconds: float = Field(60.0, ge=2, le=3600, description="the window of each rate, at most"),
    measure_from: Measured = "cluster",
) -> Sweep:
    """Find the highest rate at which a model's objectives hold.

    The outcome is written into the release; nothing that serves changes.
    """
    choice = read_choice(model, environment)
    check_sweepable(choice.model)
    check_load(choice.model, measure_from)
    with turn(choice.environment):
        site = read_infrastructure(choice.environment)
        record = serving_release(site, choice.model)
        replicas = ready_replicas(site, choice.model)
        tried = find_knee(site, choice.model, record, replicas, minutes * 60, step_seconds, measure_from)
        found = read_knee(site, choice.model, tried, ready_replicas(site, choice.model))
        keep_sweep(site, choice.model, record, found)
        page = draw_page(choice.model, record, record.report, (record.release.id, found))
        keep_page(site, choice.model, record, page, "sweep")
        return found
