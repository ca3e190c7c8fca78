"""Reading and writing the ledger of releases, as Prefect tasks."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from botocore.exceptions import ClientError
from prefect.runtime import flow_run

from tasks.cloud.aws import aws_errors, error_code
from tasks.cloud.registry import read_digest
from tasks.records.answers import AnswersReport
from tasks.records.environment import Environment
from tasks.records.errors import InputError, NothingDeployed
from tasks.records.model import Model
from tasks.records.names import RUN_COMMIT_TAG
from tasks.records.reports import LoadPage, LoadReport, Sweep
from tasks.records.results import Release, WeightsChoice
from tasks.releases.images import by_digest, moved, same_engine, written
from tasks.releases.ledger import Ledger
from tasks.releases.measured import basis_of, choose, given_in_file, numbers_of
from tasks.releases.records import Approval, Failure, ReleaseRecord
from tasks.site import Site, aws_of
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
    asked = choose(model, ledger.measured(), basis_of(model, site.environment)).model
    if not same_engine(record.release.engine, asked.engine) or record.release.repo != model.source.repo:
        raise InputError(
            f"models/{model.name}.yaml has changed since release {record.release.id} was proven",
            next_command=f"slipway deploy {model.name} -e {site.name}, then promote again",
        )
    tell_moved(record.release.image)
    return record.release


def tell_moved(image: str) -> None:
    """Warn where the tag of an image by digest means another one by now."""
    if written(image) == image:
        return
    now = read_digest(written(image))
    told = moved(image, f"{written(image)}@{now.digest}") if now.digest else None
    if told:
        RunReporter("image").warn(f"{told}; what is proven is promoted")


@task(task_run_name="image of {model.name} by digest", **SETTINGS)
def pin_image(model: Model, environment: Environment | None = None) -> Model:
    """The model with its image by digest, `NAME:TAG@sha256:…`; what the registry does not tell stays a tag, with a warning.

    `environment`: there a release with the same tag may serve, whose digest is kept while the registry does not answer.
    """
    image, reporter = model.engine.image, RunReporter("image")
    if by_digest(image):
        return model
    found = read_digest(image)
    if found.digest:
        reporter.say(f"{image} is {found.digest}")
        return model.with_image(f"{image}@{found.digest}")
    if not found.missing and environment and (kept := _digest_that_serves(model, environment)):
        reporter.warn(f"{image} is not resolved ({found.unknown}): kept as it serves, {kept}")
        return model.with_image(kept)
    reporter.warn(f"{image} stays a tag, which can move, and is not promoted ({found.unknown})")
    return model


@task(task_run_name="measured numbers of {model.name}", **SETTINGS)
def take_measured(model: Model, environment: Environment, proven_in: Environment | None = None) -> Model:
    """The model with the numbers that a sweep measured here, or in `proven_in`, unless its file sets them or they are stale."""
    ledger = _ledger_before(model, environment)
    numbers = ledger.measured() if ledger else None
    if numbers is None and proven_in and (other := _ledger_before(model, proven_in)):
        numbers = other.measured()
    chosen, reporter = choose(model, numbers, basis_of(model, environment)), RunReporter("numbers")
    for line in chosen.told:
        reporter.say(line)
    return chosen.model


def check_appliable(model: Model, environment: Environment) -> None:
    """Raises InputError where what a sweep finds could not be rolled out here."""
    if environment.promote_from:
        raise InputError(
            f"only what was proven in {environment.promote_from} may come into {environment.name}",
            next_command=f"slipway sweep {model.name} -e {environment.promote_from} --apply, then promote",
        )
    if len(given := given_in_file(model)) == 2:
        raise InputError(
            f"models/{model.name}.yaml sets both numbers itself, and what a file sets wins",
            evidence=given,
            next_command=f"take {' and '.join(given)} out of models/{model.name}.yaml, or sweep without --apply",
        )


def swept_model(model: Model, environment: Environment, record: ReleaseRecord) -> Model:
    """The model as it serves, by its file. Raises InputError where the file says something else by now."""
    served = record.release
    seqs = {"max_num_seqs": served.engine.max_num_seqs}
    same = model.model_copy(update={"engine": model.engine.model_copy(update=seqs)})
    if not same_engine(served.engine, same.engine) or served.repo != model.source.repo:
        raise InputError(
            f"models/{model.name}.yaml has changed since release {served.id}: what is measured would not be what is rolled out",
            next_command=f"slipway deploy {model.name} -e {environment.name}, then sweep again",
        )
    image = {"image": served.engine.image}
    return model.model_copy(update={"engine": model.engine.model_copy(update=image)})


def with_sweep(model: Model, environment: Environment, swept: str, sweep: Sweep) -> Model:
    """The model with what the sweep proposes. Pure."""
    basis = basis_of(model, environment)
    return choose(model, numbers_of(sweep, swept, basis), basis).model


@task(task_run_name="numbers of {model.name} kept", **SETTINGS)
def keep_measured(site: Site, model: Model, swept: str, sweep: Sweep) -> None:
    """Write what the sweep of release `swept` measured: the next deploys of this model, engine and hardware take it."""
    ledger_of(site, model).keep_measured(numbers_of(sweep, swept, basis_of(model, site.environment)))


def _digest_that_serves(model: Model, environment: Environment) -> str | None:
    """The image by digest of the release that serves, where its tag is the model's."""
    ledger = _ledger_before(model, environment)
    serving = ledger.serving().serving if ledger else None
    image = ledger.record(serving).release.image if ledger and serving else ""
    return image if by_digest(image) and written(image) == model.engine.image else None


def _ledger_before(model: Model, environment: Environment) -> Ledger | None:
    """The ledger of an environment that may not be made yet; None where it has no bucket, or preflight will refuse the one there is."""
    s3 = aws_of(environment).client("s3")
    bucket = environment.storage.model_bucket
    with aws_errors("looking for the model bucket"):
        try:
            s3.head_bucket(Bucket=bucket)
        except ClientError as error:
            # 403: somebody else's, or no right to it. Preflight tells which, and what to do
            if error_code(error) in ("404", "NoSuchBucket", "403"):
                return None
            raise
    return Ledger(s3, bucket, environment.name, model.name)


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
    site: Site,
    model: Model,
    record: ReleaseRecord,
    report: LoadReport,
    answers: AnswersReport | None = None,
    approval: Approval | None = None,
    weights: WeightsChoice | None = None,
) -> ReleaseRecord:
    """Write into the ledger that this release serves, with the reports that prove it, who approved it and how it loads."""
    proven = record.model_copy(
        update={
            "report": report,
            "answers": answers or record.answers,
            "approval": approval or record.approval,
            "weights": weights or record.weights,
        }
    )
    ledger_of(site, model).proven(proven)
    return proven


@task(task_run_name="keep the evidence of {model.name}", **SETTINGS)
def keep_evidence(site: Site, model: Model, record: ReleaseRecord, report: LoadReport) -> None:
    """Write the report of a release that failed its validation into its record."""
    why = Failure(cause=f"load validation: {report.verdict}", evidence=report.reasons)
    ledger_of(site, model).keep(record.model_copy(update={"report": report, "failure": why}))


@task(task_run_name="keep the answers of {model.name}", **SETTINGS)
def keep_wrong_answers(site: Site, model: Model, record: ReleaseRecord, answers: AnswersReport) -> None:
    """Write the answers of a release that failed by them into its record."""
    why = Failure(cause=f"answers: {answers.verdict}", evidence=answers.reasons)
    ledger_of(site, model).keep(record.model_copy(update={"wrong_answers": answers, "failure": why}))


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
