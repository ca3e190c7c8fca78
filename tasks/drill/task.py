"""Drills as Prefect tasks: the scaler under load, and the record of what was seen."""

from __future__ import annotations

from collections.abc import Sequence

from tasks.cloud import objects
from tasks.cloud.prometheus import prometheus_of
from tasks.drill import decide
from tasks.drill.loading import by_job
from tasks.drill.observe import Place
from tasks.drill.scaling import ScalingDrill
from tasks.records import names
from tasks.records.catalogue import project_root
from tasks.records.drills import Drilled, Promise
from tasks.records.environment import Environment
from tasks.records.model import Model
from tasks.records.results import IdleDecision
from tasks.releases.promises import No as No
from tasks.releases.promises import as_released, not_promised
from tasks.releases.records import ReleaseRecord
from tasks.releases.task import ledger_of
from tasks.site import Site
from tasks.task import SETTINGS, RunReporter, show_table, task
from tasks.validation.task import api_key

SCALING: tuple[Promise, ...] = ("scale-out", "scale-in")
UNUSED: tuple[Promise, ...] = ("wake", "rollback")


def check_allowed(environment: Environment, wanted: Sequence[str], in_protected: bool) -> tuple[Promise, ...]:
    """The promises to drill. Raises InputError."""
    return decide.check_allowed(environment, wanted, in_protected)


@task(task_run_name="does {model.name} scale out and in", **SETTINGS)
def drill_scaling(
    site: Site, model: Model, record: ReleaseRecord, wanted: Sequence[Promise]
) -> list[Drilled]:
    """Load until a second replica answers, then none until it and its node are gone; a result for each of `wanted`."""
    known, model = ledger_of(site, model).serving(), as_released(model, record)
    release = record.release.id
    for promise in SCALING:
        if no := not_promised(promise, model, known):
            return [decide.result(one, no, release) for one in wanted]
    cluster, environment = site.cluster(), site.environment
    place = Place(cluster, prometheus_of(environment, cluster), environment, model, record.documents)
    deployment = cluster.get("apps/v1", "Deployment", names.workload(model), site.namespace)
    ready = int(objects.status(deployment).get("readyReplicas") or 0)
    wanted_now = int(objects.spec(deployment).get("replicas") or 0)
    demand, _ = place.value(
        place.query
    )  # without an answer the drill goes on, and tells it as what it is broken by
    if no := decide.may_scale(model, ready, wanted_now, demand, environment):
        return [decide.result(one, no, release) for one in wanted]
    reporter = RunReporter("drill")
    loading = by_job(place, api_key(cluster, record.endpoint), project_root(), reporter)
    drill = ScalingDrill(place, release, loading, reporter.say)
    seconds = float(
        objects.spec(deployment).get("progressDeadlineSeconds") or environment.deadlines.pod_start
    )
    return drill.run(seconds, wanted)


@task(task_run_name="what was seen of {model.name}", **SETTINGS)
def keep_drilled(site: Site, model: Model, results: Sequence[Drilled]) -> None:
    """Write the results into the ledger, and as a table of the run."""
    ledger, rows = ledger_of(site, model), []
    for one in results:
        ledger.keep_drilled(one)
        rows += [
            {"promise": one.promise, "seconds": f"{step.seconds:.1f}", "seen": step.what}
            for step in one.steps
        ]
        rows.append(
            {
                "promise": one.promise,
                "seconds": "",
                "seen": f"{one.outcome}{': ' * bool(one.cause)}{one.cause}",
            }
        )
    show_table(
        f"drill-{model.name}", rows, f"promises of {model.name} in {site.name}", nothing="nothing was drilled"
    )


@task(task_run_name="may {promise} of {model.name} be drilled", **SETTINGS)
def may_interrupt(site: Site, model: Model, promise: Promise, idle: IdleDecision) -> No | None:
    """Why a promise that interrupts is not put to the test; None where it may be."""
    known = ledger_of(site, model).serving()
    if no := not_promised(promise, model, known):
        return no
    before = (
        ledger_of(site, model).record(known.previous) if promise == "rollback" and known.previous else None
    )
    return decide.may_interrupt(model, site.environment, idle, before)


@task(task_run_name="release of {model.name} before this one", **SETTINGS)
def previous_release(site: Site, model: Model) -> str:
    """The release that served before."""
    before = ledger_of(site, model).serving().previous
    assert before  # noqa: S101  may_interrupt has looked
    return before


def not_drilled(promise: Promise, why: No, release: str) -> Drilled:
    """A promise that is not put to the test."""
    return decide.result(promise, why, release)
