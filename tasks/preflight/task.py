"""Preflight as a Prefect task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from prefect import task

from tasks.cloud.processes import TOOLS, executable
from tasks.preflight.checks import judge, require, table
from tasks.preflight.facts import observe
from tasks.records.environment import Environment
from tasks.records.model import Model
from tasks.records.results import HubInspection
from tasks.site import aws_of
from tasks.task import SETTINGS, RunReporter, show_table


@task(task_run_name="preflight {model.name} on {environment.name}", **SETTINGS)
def check_feasible(
    environment: Environment,
    model: Model,
    inspection: HubInspection,
    documents: Sequence[Mapping[str, Any]],
) -> HubInspection:
    """Check everything that can be known before anything changes. Raises PreflightFailed or what AWS refuses."""
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
