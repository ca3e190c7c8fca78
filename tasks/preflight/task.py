"""Preflight as Prefect tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from prefect import task

from tasks.cloud.processes import TOOLS, executable
from tasks.preflight.checks import judge, require, table
from tasks.preflight.config import Unsaid
from tasks.preflight.engine import Engine
from tasks.preflight.explained import explained, rendered
from tasks.preflight.facts import observe
from tasks.records.environment import Environment
from tasks.records.model import Model
from tasks.records.results import Feasibility, HubInspection, PreflightRow
from tasks.site import aws_of
from tasks.task import SETTINGS, RunReporter, show_table


@task(task_run_name="preflight {model.name} on {environment.name}", **SETTINGS)
def check_feasible(
    environment: Environment,
    model: Model,
    inspection: HubInspection,
    documents: Sequence[Mapping[str, Any]],
) -> HubInspection:
    """Judge everything that can be known before anything is touched. Raises PreflightFailed where it cannot succeed."""
    reporter = RunReporter("preflight")
    for tool, hint in TOOLS.items():
        executable(tool, install_hint=hint)
    checks = judge(model, environment, inspection, observe(environment, aws_of(environment)), documents)
    for check in checks:
        mark = {"ok": "ok  ", "warn": "warn", "fail": "FAIL"}[check.status]
        reporter.say(f"{mark} {check.name:<12} {check.detail}")
    show_table(f"preflight-{model.name}", table(checks), f"Preflight: {model.name} on {environment.name}")
    require(checks)
    return inspection


@task(task_run_name="feasibility of {model.name} on {environment.name}", **SETTINGS)
def judge_feasible(
    environment: Environment,
    model: Model,
    inspection: HubInspection,
    documents: Sequence[Mapping[str, Any]],
) -> Feasibility:
    """The same judgement as a table to print, with the memory sum line by line; a failed row is no error."""
    facts = observe(environment, aws_of(environment))
    checks = judge(model, environment, inspection, facts, documents)
    rows = tuple(
        PreflightRow(check=c.name, status=c.status, detail=c.detail, next_command=c.next_command)
        for c in checks
    )
    engine = Engine(model, inspection, facts.instance, documents)
    try:
        explanation = rendered(explained(engine.plan()))
    except Unsaid:
        explanation = ""
    return Feasibility(rows=rows, explanation=explanation)
