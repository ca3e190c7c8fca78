"""Sweep: the highest rate at which the objectives hold, and the settings that follow; rolled out where that is asked for."""

from __future__ import annotations

from pydantic import Field

from flows.run.choices import Choice, EnvironmentName, Measured, ModelName, read_choice
from flows.run.runbook import runbook
from flows.run.stages import take_through
from flows.run.turn import turn
from tasks.infra.task import read_infrastructure
from tasks.records.errors import ClusterBusy
from tasks.records.reports import MeasureFrom, Sweep
from tasks.releases.records import ReleaseRecord
from tasks.releases.task import (
    check_appliable,
    keep_measured,
    keep_page,
    keep_sweep,
    serving_release,
    swept_model,
    with_sweep,
)
from tasks.rollout.task import ready_replicas
from tasks.site import Site
from tasks.staging.task import inspect_proven
from tasks.validation.task import check_load, check_sweepable, draw_page, find_knee, read_knee


@runbook(name="slipway-sweep", run_name="sweep {model} in {environment}")
def sweep(
    model: ModelName,
    environment: EnvironmentName,
    minutes: float = Field(30.0, gt=0, le=600, description="no step begins that might end later"),
    step_seconds: float = Field(60.0, ge=2, le=3600, description="the window of each rate, at most"),
    apply: bool = Field(
        False,
        description="roll out requests_per_replica and max_num_seqs as they were measured, and prove them",
    ),
    measure_from: Measured = "cluster",
) -> Sweep:
    """Find the highest rate at which a model's objectives hold.

    The outcome is written into the release; what serves changes with --apply only.
    """
    choice = read_choice(model, environment)
    check_sweepable(choice.model)
    check_load(choice.model, measure_from)
    if apply:
        check_appliable(*choice)
    with turn(choice.environment):
        site = read_infrastructure(choice.environment)
        record = serving_release(site, choice.model)
        if apply:
            swept_model(*choice, record)
        replicas = ready_replicas(site, choice.model)
        tried = find_knee(site, choice.model, record, replicas, minutes * 60, step_seconds, measure_from)
        found = read_knee(site, choice.model, tried, ready_replicas(site, choice.model))
        keep_sweep(site, choice.model, record, found)
        page = draw_page(choice.model, record, record.report, (record.release.id, found))
        keep_page(site, choice.model, record, page, "sweep")
    return applied(site, choice, record, found, measure_from) if apply and not found.refused else found


def applied(
    site: Site, choice: Choice, record: ReleaseRecord, found: Sweep, measure_from: MeasureFrom
) -> Sweep:
    """Roll out the swept release with the numbers it proposes, as a deploy does, and keep them once they are proven.

    Raises ClusterBusy where another release serves by now, and what a deploy raises; then nothing is kept.
    """
    swept = record.release.id
    model = swept_model(*choice, record)
    now = serving_release(site, model).release.id
    if now != swept:
        raise ClusterBusy(
            f"{now} serves since {swept} was swept: what was measured is not rolled out over it",
            next_command=f"slipway sweep {model.name} -e {site.name} --apply",
        )
    done = take_through(
        with_sweep(model, choice.environment, swept, found),
        choice.environment,
        inspect_proven(site, record.release)[0],
        first="rollout",
        measure_from=measure_from,
    )
    keep_measured(site, model, swept, found)
    return found.model_copy(update={"applied": done.record.release.id})
