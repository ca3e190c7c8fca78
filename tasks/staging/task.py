"""Staging as Prefect tasks."""

from __future__ import annotations

import os

from prefect.blocks.system import Secret

from tasks.cloud.aws import told_retries
from tasks.records.environment import Environment
from tasks.records.errors import RevisionNotFound, StagingFailed
from tasks.records.model import Model, Source
from tasks.records.results import HubInspection, HubModel, Manifest, Release, StagedModel, StorageOutputs
from tasks.records.watching import HubCommit
from tasks.site import Site, aws_of
from tasks.staging import model_manifest, token
from tasks.staging.checking import check
from tasks.staging.commits import look
from tasks.staging.folder import StagedFolder
from tasks.staging.hub import read_head, resolve
from tasks.staging.hub_to_s3 import stage
from tasks.staging.inspection import inspect, inspect_staged, read_manifest
from tasks.staging.link import Hub
from tasks.staging.objects import Bucket
from tasks.staging.promotion import promote_copy
from tasks.task import SETTINGS, RunReporter, task, transient

HUB_TOKEN_BLOCK = "hub-token"  # noqa: S105  the name of a Prefect Secret block


def hub_token(environment: Environment | None, reporter: RunReporter) -> str | None:
    """The hub's token: the Prefect Secret `hub-token`, else HF_TOKEN, else the environment's secret. Never logged or stored."""

    def secret() -> str | None:
        return token.stored(aws_of(environment), environment, reporter.warn) if environment else None

    try:
        block = str(Secret.load(HUB_TOKEN_BLOCK, _sync=True).get())  # type: ignore[call-arg,union-attr]
    except ValueError:  # no block of that name
        block = None
    return token.chosen(block, os.environ, secret)


@task(
    task_run_name="inspect {model.source.repo}",
    retries=2,
    retry_delay_seconds=2,
    retry_condition_fn=transient,
    **SETTINGS,
)
def inspect_model(
    model: Model, revision: str | None = None, environment: Environment | None = None
) -> HubInspection:
    """Pin the repo to a commit, list its files, read config.json and the safetensors headers.

    `environment`: whose secret has the hub's token, where nothing else has it; AWS is not asked without one.
    """
    reporter = RunReporter("preflight")
    hub = Hub(hub_token(environment, reporter), reporter=reporter)
    source = model.source.model_copy(update={"revision": revision}) if revision else model.source
    adapters = tuple(
        _inspected(Source(repo=lora.repo, revision=lora.revision), hub, reporter)
        for lora in model.engine.lora
    )
    return _inspected(source, hub, reporter).model_copy(update={"adapters": adapters})


@task(
    task_run_name="newest commit of {model.source.repo}",
    retries=2,
    retry_delay_seconds=5,
    retry_condition_fn=transient,
    **SETTINGS,
)
def newest_commit(model: Model, environment: Environment) -> HubCommit:
    """What the hub lists at the branch or tag that the model's file follows. Raises HubError."""
    reporter = RunReporter("watch")
    return look(model.source, Hub(hub_token(environment, reporter), reporter=reporter))


@task(
    task_run_name="commit {commit} of {model.source.repo}",
    retries=2,
    retry_delay_seconds=5,
    retry_condition_fn=transient,
    **SETTINGS,
)
def listed_commit(model: Model, commit: str, environment: Environment) -> HubCommit | None:
    """What the hub lists of one commit; None where the repo has no such commit. Raises HubError."""
    reporter = RunReporter("watch")
    source = model.source.model_copy(update={"revision": commit})
    try:
        return look(source, Hub(hub_token(environment, reporter), reporter=reporter))
    except RevisionNotFound:
        return None


def _inspected(source: Source, hub: Hub, reporter: RunReporter) -> HubInspection:
    pinned = resolve(source, hub)
    for line in pinned.skipped:
        reporter.say(f"left out: {line}")
    reporter.say(f"{pinned.repo}@{source.revision} is commit {pinned.commit}")

    def read(path: str, offset: int, count: int) -> bytes:
        return read_head(pinned, path, count, hub, offset=offset)

    return inspect(pinned, read)


@task(
    task_run_name="stage {inspection.model.repo}",
    retries=2,
    retry_delay_seconds=5,
    retry_condition_fn=transient,
    **SETTINGS,
)
def stage_model(environment: Environment, storage: StorageOutputs, inspection: HubInspection) -> StagedModel:
    """Stage the model from the hub into S3, verified, manifest last. Sends nothing where it is there already."""
    aws, reporter = aws_of(environment), RunReporter("staging")
    s3 = aws.client("s3")
    with told_retries(s3, reporter.say):
        bucket = Bucket(s3, storage.bucket, aws.account, storage.kms_key_arn)
        hub = Hub(hub_token(environment, reporter), reporter=reporter)
        adapters = tuple(stage(adapter.model, bucket, hub) for adapter in inspection.adapters)
        return stage(inspection.model, bucket, hub).model_copy(update={"adapters": adapters})


@task(task_run_name="inspect {release.repo} in {site.name}", **SETTINGS)
def inspect_proven(site: Site, release: Release) -> tuple[HubInspection, StagedModel]:
    """Inspect what is staged for a proven release, in its own bucket: the hub is not asked."""
    storage, aws = site.storage, site.aws()
    bucket = Bucket(aws.client("s3"), storage.bucket, aws.account)
    inspection, staged = inspect_staged(bucket, release.repo, release.commit)
    adapters = [inspect_staged(bucket, lora.repo, lora.revision) for lora in release.engine.lora]
    RunReporter("preflight").say(
        f"{release.repo} is commit {release.commit}, from s3://{storage.bucket}: the hub is not asked"
    )
    return (
        inspection.model_copy(update={"adapters": tuple(one for one, _ in adapters)}),
        staged.model_copy(update={"adapters": tuple(one for _, one in adapters)}),
    )


@task(task_run_name="find {inspection.model.repo} in {site.name}", **SETTINGS)
def find_staged(site: Site, inspection: HubInspection) -> StagedModel:
    """Find what is staged of the inspected commit, every file of it, and stage nothing. Raises StagingFailed."""
    aws = site.aws()
    bucket = Bucket(aws.client("s3"), site.storage.bucket, aws.account)
    adapters = tuple(_found(site, bucket, adapter.model) for adapter in inspection.adapters)
    return _found(site, bucket, inspection.model).model_copy(update={"adapters": adapters})


def _found(site: Site, bucket: Bucket, hub: HubModel) -> StagedModel:
    folder = StagedFolder.of(bucket, hub.repo, hub.commit)
    stored = model_manifest.read(folder)
    there = {(file.path, file.size) for file in stored.manifest.files} if stored else set()
    lacking = [file.path for file in hub.files if (file.path, file.size) not in there]
    if stored is None or lacking or (lacking := model_manifest.missing(stored.manifest, folder)):
        raise StagingFailed(
            f"{folder.uri} is not whole",
            evidence=[f"missing: {path}" for path in lacking[:10]],
            next_command=f"slipway deploy MODEL -e {site.name} --from-stage staging",
        )
    return model_manifest.staged_model(folder, stored, reused=True)


@task(task_run_name="check {staged.repo} in {site.name}", **SETTINGS)
def check_staged(site: Site, staged: StagedModel) -> StagedModel:
    """Hold what pods will stream to its manifest, by size and CRC64NVME. Raises ChecksumMismatch, StagingFailed."""
    aws, reporter = site.aws(), RunReporter("staging")
    folder = StagedFolder.of(
        Bucket(aws.client("s3"), site.storage.bucket, aws.account), staged.repo, staged.commit
    )
    stored = model_manifest.read(folder)
    if stored is None or stored.sha256 != staged.manifest_sha256:
        raise StagingFailed(
            f"{folder.uri} changed since it was staged", next_command="run the same command again"
        )
    check(folder, stored)
    reporter.say(
        f"{len(stored.manifest.files)} objects have the size and CRC64NVME they were staged with, and there is no other"
    )
    return staged


@task(task_run_name="manifest of {release.repo} in {site.name}", **SETTINGS)
def staged_manifest(site: Site, release: Release) -> Manifest:
    """Read the manifests of what is staged for a release, its adapters' in the model's. Raises StagingFailed where one is missing."""
    aws = site.aws()
    bucket = Bucket(aws.client("s3"), site.storage.bucket, aws.account)
    adapters = tuple(read_manifest(bucket, lora.repo, lora.revision) for lora in release.engine.lora)
    return read_manifest(bucket, release.repo, release.commit).model_copy(update={"adapters": adapters})


@task(
    task_run_name="copy {staged.repo}",
    retries=2,
    retry_delay_seconds=5,
    retry_condition_fn=transient,
    **SETTINGS,
)
def copy_model(environment: Environment, storage: StorageOutputs, staged: StagedModel) -> StagedModel:
    """Copy from the bucket it was proven in, by S3 itself, with the credentials of `environment`."""
    aws, reporter = aws_of(environment), RunReporter("staging")
    s3 = aws.client("s3")
    origin = Bucket(aws.s3_of(staged.account), staged.bucket, staged.account)
    with told_retries(s3, reporter.say):
        bucket = Bucket(s3, storage.bucket, aws.account, storage.kms_key_arn)
        adapters = tuple(promote_copy(adapter, origin, bucket, reporter) for adapter in staged.adapters)
        return promote_copy(staged, origin, bucket, reporter).model_copy(update={"adapters": adapters})
