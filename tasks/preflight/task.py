"""Preflight as Prefect tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from tasks.cloud import load_balancer
from tasks.cloud.aws import aws_errors
from tasks.cloud.processes import TOOLS, executable
from tasks.preflight import api_access, front_door
from tasks.preflight.asked import asked
from tasks.preflight.checks import Check, judge, require, table
from tasks.preflight.config import Unsaid
from tasks.preflight.cost import hourly_prices, items, replica_hour, told
from tasks.preflight.engine import Engine
from tasks.preflight.explained import explained, rendered
from tasks.preflight.facts import observe, support_of
from tasks.preflight.images import vllm_version
from tasks.records.environment import Environment
from tasks.records.errors import InputError
from tasks.records.model import Model
from tasks.records.results import Feasibility, HubInspection, PreflightRow, WeightsChoice
from tasks.site import aws_of
from tasks.task import SETTINGS, RunReporter, show_table, task

AS_WRITTEN = WeightsChoice(how="volume")


def settled(model: Model, inspection: HubInspection) -> Model:
    """The model with the route it is asked by, where its file names none, and its adapters at the inspected commits."""
    pinned = model.with_adapters([adapter.model.commit for adapter in inspection.adapters])
    return asked(pinned, inspection)


@task(task_run_name="preflight {model.name} on {environment.name}", **SETTINGS)
def check_feasible(
    environment: Environment,
    model: Model,
    inspection: HubInspection,
    documents: Sequence[Mapping[str, Any]],
    weights: WeightsChoice = AS_WRITTEN,
) -> Feasibility:
    """Judge everything that can be known before anything is touched. Raises PreflightFailed where it cannot succeed."""
    reporter = RunReporter("preflight")
    for tool, hint in TOOLS.items():
        executable(tool, install_hint=hint)
    facts = observe(environment, aws_of(environment), model)
    api = check_api(environment)
    checks = [
        *judge(model, environment, inspection, facts, documents),
        *chosen_weights(weights),
        api,
        *check_kept(environment, api),
    ]
    for check in checks:
        mark = {"ok": "ok  ", "warn": "warn", "fail": "FAIL"}[check.status]
        tell = reporter.detail if check.status == "ok" else reporter.warn
        tell(f"{mark} {check.name:<12} {check.detail}")
    passed = sum(check.status == "ok" for check in checks)
    reporter.say(f"{passed} of {len(checks)} checks hold")
    show_table(f"preflight-{model.name}", table(checks), f"Preflight: {model.name} on {environment.name}")
    require(checks)
    return Feasibility(
        rows=rows_of(checks),
        judged_at=datetime.now(UTC),
        engine_version=vllm_version(model.engine.image) or "",
        replica_hour=replica_hour(model, environment, facts.prices, facts.instance.gpus),
    )


def chosen_weights(weights: WeightsChoice) -> list[Check]:
    """The row that says how the weights come, and why, where the model's file left it open."""
    return [Check("weights", "ok", str(weights))] if weights.why else []


def check_api(environment: Environment) -> Check:
    """Whether the Kubernetes API can be reached from here."""
    return Check(
        "API access", *api_access.judge(environment, api_access.observe(environment, aws_of(environment)))
    )


def check_kept(environment: Environment, api: Check) -> list[Check]:
    """A row where the load balancer that is there cannot become what is asked, before terraform changes its controller's role."""
    if api.status != "ok":
        return []
    try:
        load_balancer.check_kept(front_door.service_there(environment, aws_of(environment)), environment)
    except InputError as error:
        return [Check("load balancer", "fail", error.cause, error.next_command or "")]
    return []


@task(task_run_name="feasibility of {model.name} on {environment.name}", **SETTINGS)
def judge_feasible(
    environment: Environment,
    model: Model,
    inspection: HubInspection,
    documents: Sequence[Mapping[str, Any]],
    weights: WeightsChoice = AS_WRITTEN,
    *,
    as_reader: bool = False,
) -> Feasibility:
    """The same judgement as a table to print, with the memory sum line by line; a failed row is no error.

    `as_reader`: rights and network of who asks are left out: a worker elsewhere deploys.
    """
    facts = observe(environment, aws_of(environment), model, as_reader=as_reader)
    checks = [*judge(model, environment, inspection, facts, documents), *chosen_weights(weights)]
    if not as_reader:
        checks.append(check_api(environment))
    engine = Engine(model, inspection, facts.instance, documents)
    try:
        explanation = rendered(explained(engine.plan()))
    except Unsaid:
        explanation = ""
    return Feasibility(
        rows=rows_of(checks),
        explanation=explanation,
        replica_hour=replica_hour(model, environment, facts.prices, facts.instance.gpus),
    )


@task(task_run_name="certificate of {environment.name}", **SETTINGS)
def tell_certificate(environment: Environment) -> PreflightRow | None:
    """Warn where the gateway's certificate ends soon, or has; None without TLS."""
    found = front_door.observe(environment, aws_of(environment))
    if found is None:
        return None
    check = Check("front door", *front_door.judge(environment, found, front_door.today()))
    if check.status != "ok":
        RunReporter("status").warn(f"{check.detail}; next: {check.next_command}")
    [row] = rows_of([check])
    return row


def rows_of(checks: Sequence[Check]) -> tuple[PreflightRow, ...]:
    return tuple(
        PreflightRow(check=c.name, status=c.status, detail=c.detail, next_command=c.next_command)
        for c in checks
    )


def first_cost(environment: Environment) -> str | None:
    """What the environment would cost an hour; None where its cluster is there already. Raises CloudError."""
    aws, cluster = aws_of(environment), environment.cluster
    with aws_errors("asking EKS for its clusters"):
        if environment.eks_cluster in aws.client("eks").list_clusters()["clusters"]:
            return None
    support = support_of(cluster.kubernetes_version, aws)
    extended = support is not None and support.status == "EXTENDED_SUPPORT"
    return told(items(environment, hourly_prices(environment, aws), extended=extended))
