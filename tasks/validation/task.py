"""Load validation as a Prefect task."""

from __future__ import annotations

import base64

from prefect import task

from tasks.cloud.kubernetes import Cluster
from tasks.spec.catalogue import project_root
from tasks.spec.environment import Environment
from tasks.spec.errors import ValidationFailed
from tasks.spec.model import Model
from tasks.spec.records import Endpoint, Infrastructure, LoadReport
from tasks.task import SETTINGS, RunReporter, cluster_of, show_table
from tasks.validation.sources import read_sources
from tasks.validation.validation import prove, table, tell


@task(task_run_name="load of {model.name} can be read", **SETTINGS)
def check_load(model: Model) -> str:
    """The load in words, once its files are there and can be read. Raises InvalidDocument with file and line."""
    rows, prompts = read_sources(model.load, project_root())
    what = [f"{len(rows)} rows of a trace"] * bool(rows) + [f"{len(prompts)} prompts"] * bool(prompts)
    return ": ".join([str(model.load), *what])


@task(task_run_name="load validation of {model.name}", **SETTINGS)
def validate(
    model: Model, environment: Environment, infrastructure: Infrastructure, endpoint: Endpoint
) -> LoadReport:
    """The model's load against the endpoint, through the gateway, as a report with a verdict."""
    key = api_key(cluster_of(infrastructure), endpoint)
    reporter = RunReporter("validation")
    report = prove(model, endpoint, key, reporter, root=project_root())
    tell(report, reporter)
    show_table(
        f"load-report-{model.name}", table(report), f"{report.verdict}: {model.name} on {environment.name}"
    )
    return report


def api_key(cluster: Cluster, endpoint: Endpoint) -> str:
    """The key's value out of the Secret the endpoint names. Raises ValidationFailed."""
    secret = cluster.get("v1", "Secret", endpoint.key_secret, endpoint.key_namespace)
    if not secret or "api-key" not in (secret.get("data") or {}):
        raise ValidationFailed(
            f"the Secret {endpoint.key_namespace}/{endpoint.key_secret} with the API key is not there",
            next_command=f"kubectl -n {endpoint.key_namespace} get secret {endpoint.key_secret}",
        )
    return base64.b64decode(secret["data"]["api-key"]).decode()
