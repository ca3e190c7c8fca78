"""Staging as Prefect tasks."""

from __future__ import annotations

import json
import os

from prefect import task
from prefect.blocks.system import Secret

from tasks.spec.environment import Environment
from tasks.spec.model import Model
from tasks.spec.records import HubInspection, StagedModel, StorageOutputs
from tasks.staging.hub import read_head, read_safetensors_header, resolve
from tasks.staging.staging import stage
from tasks.task import SETTINGS, RunReporter, aws_of, transient

HUB_TOKEN_BLOCK = "hub-token"  # noqa: S105  the name of a Prefect Secret block


def hub_token() -> str | None:
    """The Prefect Secret `hub-token`, else HF_TOKEN of the environment, else none. Never logged, never stored."""
    try:
        return str(Secret.load(HUB_TOKEN_BLOCK, _sync=True).get())  # type: ignore[call-arg,union-attr]
    except ValueError:  # no block of that name
        return os.environ.get("HF_TOKEN") or None


@task(
    task_run_name="inspect {model.source.repo}",
    retries=2,
    retry_delay_seconds=2,
    retry_condition_fn=transient,
    **SETTINGS,
)
def inspect_model(model: Model, revision: str | None = None) -> HubInspection:
    """Pin the repo to a commit, list its files, read config.json and the safetensors headers."""
    reporter = RunReporter("preflight")
    token = hub_token()
    source = model.source.model_copy(update={"revision": revision}) if revision else model.source
    pinned = resolve(source, token=token)
    for line in pinned.skipped:
        reporter.say(f"left out: {line}")
    sizes: dict[str, int] = {}
    for file in pinned.files:
        if file.path.endswith(".safetensors"):
            header = read_safetensors_header(pinned, file.path, token=token)
            for name, tensor in header.items():
                if name != "__metadata__":
                    begin, end = tensor["data_offsets"]
                    sizes[tensor["dtype"]] = sizes.get(tensor["dtype"], 0) + end - begin
    config = {}
    about = next((file for file in pinned.files if file.path == "config.json"), None)
    if about:
        config = json.loads(read_head(pinned, about.path, about.size, token=token))
    reporter.say(f"{pinned.repo}@{source.revision} is commit {pinned.commit}")
    return HubInspection(model=pinned, config=config, tensor_bytes=sizes)


@task(
    task_run_name="stage {inspection.model.repo}",
    retries=2,
    retry_delay_seconds=5,
    retry_condition_fn=transient,
    **SETTINGS,
)
def stage_model(inspection: HubInspection, storage: StorageOutputs, environment: Environment) -> StagedModel:
    """Hub to S3, verified, manifest last; at once when it is there."""
    return stage(
        inspection.model,
        bucket=storage.bucket,
        s3=aws_of(environment).client("s3"),
        token=hub_token(),
        reporter=RunReporter("staging"),
        kms_key_arn=storage.kms_key_arn,
    )
