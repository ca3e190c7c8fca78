"""Rollout, gate and return as Prefect tasks."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from prefect import task

from tasks.records.catalogue import project_root
from tasks.records.environment import Environment
from tasks.records.errors import InputError, RolloutFailed
from tasks.records.model import Model
from tasks.records.results import (
    Endpoint,
    HubInspection,
    LoadPage,
    LoadReport,
    Release,
    Sweep,
    WarmCache,
)
from tasks.rollout import gate, gateway, removal, restore, starts
from tasks.rollout import rollout as steps
from tasks.rollout.ledger import Failure, Ledger, ReleaseRecord
from tasks.rollout.manifests import KEY_SECRET, RELEASE_ANNOTATION, serving, workload_name
from tasks.rollout.nodegroup import NodeGroupHealth
from tasks.rollout.place import Place
from tasks.site import Site
from tasks.task import SETTINGS, RunReporter, show_markdown, show_table


def place_of(site: Site, model: Model) -> Place:
    return Place(
        root=project_root(),
        cluster=site.cluster(),
        environment=site.environment,
        ledger=ledger_of(site, model),
        reporter=RunReporter("rollout"),
        show=show_table,
        group=NodeGroupHealth(site.aws(), site.infrastructure),
    )


def ledger_of(site: Site, model: Model) -> Ledger:
    return Ledger(site.aws().client("s3"), site.storage.bucket, site.name, model.name)


def preview(environment: Environment, model: Model, inspection: HubInspection) -> list[dict[str, Any]]:
    """What the rollout will apply in the namespace, for preflight: policies, gateway, serving. Raises InputError."""
    expected = WarmCache(
        namespace=environment.namespace,
        claim=f"model-cache-{model.name}",
        path=f"{inspection.model.repo.replace('/', '--')}/{inspection.model.commit}",
        volume_id="",
        zone="",
        commit=inspection.model.commit,
        bytes_copied=0,
        snapshot="taken-by-warming" if model.wants_snapshot else None,
        size="1Gi",
    )
    root = project_root()
    return [
        *steps.namespace_documents(root, environment),
        *gateway.documents(root, environment, {}),
        *serving(
            root,
            model,
            environment,
            cache=expected,
            strategy="RollingUpdate",
            weight_bytes=inspection.weight_bytes,
        ),
    ]


def served_at(record: ReleaseRecord) -> Endpoint:
    """Where a release that passed its gate answers. Raises RolloutFailed for one that has not."""
    if record.rollout is None:
        raise RolloutFailed(f"release {record.release.id} has not passed its gate")
    return record.rollout.endpoint


@task(task_run_name="namespace {site.namespace}", **SETTINGS)
def prepare_namespace(site: Site) -> str:
    """The namespace and its default-deny policy; its name."""
    steps.apply_namespace(project_root(), site.cluster(), site.environment)
    return site.namespace


@task(task_run_name="releases of {model.name} that may serve again", **SETTINGS)
def needed_commits(site: Site, model: Model) -> list[str]:
    """Commits of the releases that serve or that a rollback would put back: warming keeps them."""
    return ledger_of(site, model).commits()


@task(task_run_name="roll out {model.name}", **SETTINGS)
def roll_out(site: Site, model: Model, cache: WarmCache, inspection: HubInspection) -> ReleaseRecord:
    """Apply the release and pass the readiness gate."""
    place = place_of(site, model)
    return steps.roll_out(place, model, cache, inspection.weight_bytes)


@task(task_run_name="release of {model.name} is proven", **SETTINGS)
def mark_proven(site: Site, model: Model, record: ReleaseRecord, report: LoadReport) -> ReleaseRecord:
    """Write into the ledger that this release serves, with what proved it."""
    proven = record.model_copy(update={"report": report})
    ledger_of(site, model).proven(proven)
    return proven


@task(task_run_name="put back what served before {model.name}", **SETTINGS)
def put_back(site: Site, model: Model, wanted: str | None = None) -> str | None:
    """The release that serves afterwards, None where nothing did."""
    return restore.restore(place_of(site, model), model, wanted).target


@task(task_run_name="is a rollout of {model.name} unfinished", **SETTINGS)
def is_unfinished(site: Site, model: Model) -> bool:
    """Whether a run began a rollout and neither proved it nor put back what served."""
    return ledger_of(site, model).serving().rolling is not None


@task(task_run_name="undo the rollout of {model.name}", **SETTINGS)
def undo(site: Site, model: Model) -> str | None:
    """Put back what served before a rollout that failed; nothing where none had begun."""
    done = restore.undo(place_of(site, model), model)
    return done.target if done else None


@task(task_run_name="keep the evidence of {model.name}", **SETTINGS)
def keep_evidence(site: Site, model: Model, record: ReleaseRecord, report: LoadReport) -> None:
    """The report of a release that failed its validation, beside the release."""
    why = Failure(cause=f"load validation: {report.verdict}", evidence=report.reasons)
    ledger_of(site, model).keep(record.model_copy(update={"report": report, "failure": why}))


@task(task_run_name="last proof of {model.name}", **SETTINGS)
def last_proven(site: Site, model: Model) -> tuple[str, LoadReport] | None:
    """(release, report) to compare the next one with; None where nothing is proven yet. Read before a rollout begins."""
    return ledger_of(site, model).last_proven()


@task(task_run_name="last sweep of {model.name}", **SETTINGS)
def last_swept(site: Site, model: Model) -> tuple[str, Sweep] | None:
    """(release, sweep) for the next page to show; None where nothing was swept yet. Read before a rollout begins."""
    return ledger_of(site, model).last_swept()


@task(task_run_name="report of {model.name} kept", **SETTINGS)
def keep_page(site: Site, model: Model, record: ReleaseRecord, page: LoadPage, name: str) -> str:
    """The page and its JSON beside the release, and an artifact of the run that says where; its address."""
    at = f"{name}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    address = ledger_of(site, model).keep_page(record.release.id, at, page)
    bucket, _, key = address.removeprefix("s3://").partition("/")
    console = f"https://{site.environment.region}.console.aws.amazon.com/s3/object/{bucket}?prefix={key}"
    show_markdown(
        f"{name}-page-{model.name}",
        f"[{address}]({console})\n\n```\naws s3 cp {address} {name}.html\n```\n\nBeside it, for machines: `{at}.json`.",
        f"{name} of {model.name}, release {record.release.id}: one page",
    )
    RunReporter(name).say(f"the page is at {address}")
    return address


@task(task_run_name="what serves {model.name}", **SETTINGS)
def serving_release(site: Site, model: Model) -> ReleaseRecord:
    """The release that serves. Raises InputError where none does."""
    ledger = ledger_of(site, model)
    known = ledger.serving()
    if known.rolling or known.serving is None:
        raise InputError(
            f"no release of {model.name} serves in {site.name}"
            + (f": {known.rolling} is being rolled out" if known.rolling else ""),
            next_command=f"slipway deploy {model.name} -e {site.name}",
        )
    return ledger.record(known.serving)


@task(task_run_name="replicas of {model.name}", **SETTINGS)
def ready_replicas(site: Site, model: Model) -> int:
    """How many serve now. Raises RolloutFailed where none does."""
    found = site.cluster().get("apps/v1", "Deployment", f"vllm-{model.name}", site.namespace)
    ready = int(((found or {}).get("status") or {}).get("readyReplicas") or 0)
    if not ready:
        raise RolloutFailed(
            f"no replica of {model.name} is ready in {site.name}",
            next_command=f"slipway wake {model.name} -e {site.name}",
        )
    return ready


@task(task_run_name="knee of {model.name} kept", **SETTINGS)
def keep_sweep(site: Site, model: Model, record: ReleaseRecord, sweep: Sweep) -> Sweep:
    """Into the release it was measured on, read anew: the sweep took a while."""
    ledger = ledger_of(site, model)
    ledger.swept(ledger.record(record.release.id), sweep)
    return sweep


@task(task_run_name="{model.name} answers", **SETTINGS)
def confirm(site: Site, model: Model, cause: str) -> str:
    """One completion through the gateway, waited for as long as a start may take; its text.

    The start is told beside the last one and kept with the release; `cause` says what it was for.
    """
    place = place_of(site, model)
    workload = workload_name(model)
    found = place.workload(workload) or {}
    release = (found.get("metadata", {}).get("annotations") or {}).get(RELEASE_ANNOTATION, "")
    seconds = float((found.get("spec") or {}).get("progressDeadlineSeconds", 600))
    deadline = place.clock() + seconds
    pods = place.wait_for_pods(workload, release, seconds)
    endpoint = gateway.endpoint_of(place.cluster, site.environment, model, deadline=deadline)
    key = gateway.read_key(place.cluster, site.namespace, KEY_SECRET)
    answer = gate.check_endpoint(
        endpoint.base_url, key, model.name, patience=site.environment.deadlines.gateway
    )
    place.reporter.say(f"a completion through the gateway came back: {answer!r:.60}")
    starts.remember(place, release, pods, cause)
    return answer


@task(task_run_name="nothing served in {site.namespace}", **SETTINGS)
def remove_serving(site: Site) -> list[str]:
    """Every workload and the gateway's load balancer gone; what was removed."""
    return removal.remove(site.cluster(), site.environment, RunReporter("teardown"))


@task(task_run_name="proven release of {model.name} in {site.name}", **SETTINGS)
def proven_release(site: Site, model: Model) -> Release:
    """The release that serves there with a PASS, if the model's file still says the same image and flags.

    Raises InputError where nothing is proven, or where the file has moved on since.
    """
    ledger = ledger_of(site, model)
    serving_now = ledger.serving().serving
    record = ledger.record(serving_now) if serving_now else None
    if record is None or record.report is None or record.report.verdict != "PASS":
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
