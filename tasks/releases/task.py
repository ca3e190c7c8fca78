"""Reading and writing the ledger of releases, as Prefect tasks."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from prefect.runtime import flow_run

from tasks.records.errors import InputError, NothingDeployed
from tasks.records.model import Model
from tasks.records.names import RUN_COMMIT_TAG
from tasks.records.reports import LoadPage, LoadReport, Sweep
from tasks.records.results import Release
from tasks.releases.ledger import Ledger
from tasks.releases.records import Approval, Failure, ReleaseRecord
from tasks.site import Site
from tasks.task import SETTINGS, RunReporter, show_link, task


def ledger_of(site: Site, model: Model) -> Ledger:
    """The releases of one model at this site."""
    return Ledger(site.aws().client("s3"), site.storage.bucket, site.name, model.name, _commit_of_the_run())


def _commit_of_the_run() -> str | None:
    """The commit in the run's tags: flows/run/label.py puts it there where it is known."""
    found = (tag for tag in flow_run.get_tags() if tag.startswith(RUN_COMMIT_TAG))
    return next((tag.removeprefix(RUN_COMMIT_TAG) for tag in found), None)


@task(task_run_name="releases of {model.name} that may serve again", **SETTINGS)
def needed_commits(site: Site, model: Model) -> list[str]:
    """Commits of the releases that serve or that a rollback may put back: warming keeps them."""
    return ledger_of(site, model).commits()


@task(task_run_name="is a rollout of {model.name} unfinished", **SETTINGS)
def is_unfinished(site: Site, model: Model) -> bool:
    """Whether a run began a rollout and neither proved nor undid it."""
    return ledger_of(site, model).serving().rolling is not None


@task(task_run_name="unfinished rollouts in {site.name}", **SETTINGS)
def unfinished_models(site: Site, models: Sequence[str]) -> list[str]:
    """Those of `models` of which a run began a rollout and neither proved nor undid it."""
    s3 = site.aws().client("s3")
    return [name for name in models if Ledger(s3, site.storage.bucket, site.name, name).serving().rolling]


@task(task_run_name="what serves {model.name}", **SETTINGS)
def serving_release(site: Site, model: Model) -> ReleaseRecord:
    """Read the release that serves. Raises NothingDeployed where none does."""
    ledger = ledger_of(site, model)
    known = ledger.serving()
    if known.rolling or known.serving is None:
        raise NothingDeployed(
            f"no release of {model.name} serves in {site.name}"
            + (f": {known.rolling} is being rolled out" if known.rolling else ""),
            next_command=f"slipway deploy {model.name} -e {site.name}",
        )
    return ledger.record(known.serving)


@task(task_run_name="proven release of {model.name} in {site.name}", **SETTINGS)
def proven_release(site: Site, model: Model) -> Release:
    """Read the release that serves with a PASS, if the model's file still has its image and flags.

    Raises InputError where nothing is proven, or where the file has changed since.
    """
    ledger = ledger_of(site, model)
    serving_now = ledger.serving().serving
    record = ledger.record(serving_now) if serving_now else None
    if record is None or record.evidence is None or record.evidence.verdict != "PASS":
        raise InputError(
            f"no release of {model.name} is proven in {site.name}",
            next_command=f"slipway deploy {model.name} -e {site.name}",
        )
    if record.release.engine != model.engine or record.release.repo != model.source.repo:
        raise InputError(
            f"models/{model.name}.yaml has changed since release {record.release.id} was proven",
            next_command=f"slipway deploy {model.name} -e {site.name}, then promote again",
        )
    return record.release


@task(task_run_name="last proof of {model.name}", **SETTINGS)
def last_proven(site: Site, model: Model) -> tuple[str, LoadReport] | None:
    """Read (release, report) of the last proof, to compare the next one with; None where there is none."""
    return ledger_of(site, model).last_proven()


@task(task_run_name="last sweep of {model.name}", **SETTINGS)
def last_swept(site: Site, model: Model) -> tuple[str, Sweep] | None:
    """Read (release, sweep) of the last sweep, for the next page to show; None where there is none."""
    return ledger_of(site, model).last_swept()


@task(task_run_name="release of {model.name} is proven", **SETTINGS)
def mark_proven(
    site: Site, model: Model, record: ReleaseRecord, report: LoadReport, approval: Approval | None = None
) -> ReleaseRecord:
    """Write into the ledger that this release serves, with the report that proves it and who approved it."""
    proven = record.model_copy(update={"report": report, "approval": approval or record.approval})
    ledger_of(site, model).proven(proven)
    return proven


@task(task_run_name="keep the evidence of {model.name}", **SETTINGS)
def keep_evidence(site: Site, model: Model, record: ReleaseRecord, report: LoadReport) -> None:
    """Write the report of a release that failed its validation into its record."""
    why = Failure(cause=f"load validation: {report.verdict}", evidence=report.reasons)
    ledger_of(site, model).keep(record.model_copy(update={"report": report, "failure": why}))


@task(task_run_name="knee of {model.name} kept", **SETTINGS)
def keep_sweep(site: Site, model: Model, record: ReleaseRecord, sweep: Sweep) -> Sweep:
    """Write a sweep into the release it measured, read again because a sweep takes a while."""
    ledger = ledger_of(site, model)
    ledger.swept(ledger.record(record.release.id), sweep)
    return sweep


@task(task_run_name="report of {model.name} kept", **SETTINGS)
def keep_page(site: Site, model: Model, record: ReleaseRecord, page: LoadPage, name: str) -> str:
    """Write the page and its JSON beside the release, and an artifact with its address; the address."""
    at = f"{name}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    address = ledger_of(site, model).keep_page(record.release.id, at, page)
    bucket, _, key = address.removeprefix("s3://").partition("/")
    console = f"https://{site.environment.region}.console.aws.amazon.com/s3/object/{bucket}?prefix={key}"
    show_link(
        f"{name}-page-{model.name}",
        console,
        f"{name} of {model.name}, release {record.release.id}: `aws s3 cp {address} {name}.html`; beside it {at}.json",
    )
    RunReporter(name).say(f"the page is at {address}")
    return address
