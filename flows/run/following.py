"""Follow one model: its newest commit is judged beside the one that serves, and taken to a proof where it may come in."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from prefect.events import emit_event

from flows.run.choices import Choice
from flows.run.stages import take_through
from tasks.infra.task import read_infrastructure
from tasks.records.errors import Inconclusive, PreflightFailed, RolloutFailed, ValidationFailed
from tasks.records.model import Model
from tasks.records.reports import MeasureFrom
from tasks.records.results import HubInspection
from tasks.records.watching import HubCommit, Watched
from tasks.releases.records import ReleaseRecord
from tasks.releases.task import pin_image, serving_release, take_measured
from tasks.site import Site
from tasks.staging.task import inspect_model, inspect_proven, listed_commit, newest_commit
from tasks.validation.task import check_load
from tasks.watch.task import decide_watched, judge_commit, judge_model, keep_watched, pinned

ACCEPTED, REFUSED = "slipway.model.commit", "slipway.model.commit-refused"
# the same commit would fail by them again; after any other error the next run tries it again
FINAL = (PreflightFailed, RolloutFailed, ValidationFailed)


def follow(choice: Choice, again: bool, measure_from: MeasureFrom) -> Watched | None:
    """What became of the newest commit; None where there was nothing to decide. Raises what a deploy raises."""
    model, where = choice
    began = datetime.now(UTC)
    check_load(model, measure_from)
    site = read_infrastructure(where)
    record = serving_release(site, model)
    newest = newest_commit(model, where)
    decision = decide_watched(site, model, newest, record.release.commit, again)
    if decision.remember:
        # by whatever way it came: a rollback from it is not undone by the next run
        keep_watched(site, model, newest, "proven", began, release=record.release.id)
    if not decision.act:
        return None
    as_serves = pinned(model, record.release)
    reasons, inspection = judged(site, as_serves, record, newest)
    if inspection is None:
        tell(REFUSED, choice, newest, reasons)
        return keep_watched(site, model, newest, "refused", began, reasons)
    tell(ACCEPTED, choice, newest)
    try:
        measured = take_measured(pin_image(as_serves, where), where)
        deployed = take_through(measured, where, inspection, measure_from=measure_from)
    except FINAL as error:
        if not isinstance(error, Inconclusive):
            keep_watched(site, model, newest, "failed", began, [error.cause])
        raise
    return keep_watched(
        site, model, newest, "proven", began, release=deployed.record.release.id, spent=deployed.seconds
    )


def judged(
    site: Site, model: Model, record: ReleaseRecord, newest: HubCommit
) -> tuple[list[str], HubInspection | None]:
    """Why it is refused, or what was inspected of it: its files are read once the hub's list may come in."""
    where = site.environment
    if reasons := judge_commit(site, model, newest, listed_commit(model, record.release.commit, where)):
        return reasons, None
    inspection = inspect_model(model, newest.commit, where)
    reasons = judge_model(inspection, inspect_proven(site, record.release)[0])
    return reasons, None if reasons else inspection


def tell(event: str, choice: Choice, newest: HubCommit, reasons: Sequence[str] = ()) -> None:
    """Emit an event by which automations can act."""
    model, where = choice
    emit_event(
        event=event,
        resource={
            "prefect.resource.id": f"slipway.model.{where.name}.{model.name}",
            "prefect.resource.name": model.name,
            "slipway.environment": where.name,
        },
        payload={"repo": newest.repo, "commit": newest.commit, "reasons": list(reasons)},
    )
