"""Validate: put the load on what serves, and write the proof into the ledger. It changes nothing that serves."""

from __future__ import annotations

from flows.run.awake import awake_models
from flows.run.choices import EnvironmentName, Measured, SomeModel, read_models
from flows.run.runbook import runbook
from flows.run.stages import answers_error, verdict_error
from flows.run.turn import turn
from tasks.evidence.task import sign_evidence
from tasks.infra.task import read_infrastructure
from tasks.records.catalogue import load_environment
from tasks.records.errors import SlipwayError, ValidationFailed
from tasks.records.model import Model
from tasks.records.reports import LoadReport, MeasureFrom
from tasks.releases.task import keep_page, last_proven, last_swept, mark_proven, serving_release
from tasks.site import Site
from tasks.staging.task import staged_manifest
from tasks.validation.task import check_load, draw_page, prove_answers
from tasks.validation.task import validate as put_load


@runbook(name="slipway-validate", run_name="prove what serves in {environment}")
def validate(
    environment: EnvironmentName, model: SomeModel = None, measure_from: Measured = "cluster"
) -> dict[str, LoadReport]:
    """Prove again what serves: one model, or every one.

    A model that sleeps is left asleep. A proof is written into the ledger; a failure takes nothing away.
    """
    models, where = read_models(model), load_environment(environment)
    with turn(where):
        site = read_infrastructure(where)
        reports, failures = {}, []
        for chosen in awake_models(site, models, model):
            try:
                reports[chosen.name] = prove(site, chosen, measure_from)
            except SlipwayError as error:
                failures.append(error)
        if failures:
            raise all_of(failures)
        return reports


def prove(site: Site, model: Model, measure_from: MeasureFrom) -> LoadReport:
    """Load one model and write the proof. Raises ValidationFailed where its objectives do not hold."""
    check_load(model, measure_from)
    record = serving_release(site, model)
    report = put_load(site, model, record, last_proven(site, model), True, measure_from)
    page = draw_page(model, record, report, last_swept(site, model))
    keep_page(site, model, record, page, "load-report")
    if report.verdict != "PASS":
        raise verdict_error(model.name, report, undone=False)
    answers = prove_answers(site, model, record, True, measure_from) if model.answers else None
    if answers and answers.verdict != "PASS":
        raise answers_error(model.name, answers, undone=False)
    marked = mark_proven(site, model, record, report, answers)
    sign_evidence(site, model, marked, staged_manifest(site, marked.release))
    return report


def all_of(failures: list[SlipwayError]) -> SlipwayError:
    """One error for all of them, with the causes of the others as evidence. Pure."""
    first, *others = failures
    if not others:
        return first
    kind = type(first) if isinstance(first, ValidationFailed) else SlipwayError
    return kind(
        first.cause,
        evidence=[*first.evidence, *(one.cause for one in others)],
        next_command=first.next_command,
    )
