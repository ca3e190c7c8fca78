"""Rollback: put back the release that served before. Idempotent."""

from __future__ import annotations

from pydantic import Field

from flows.run.choices import EnvironmentName, Measured, ModelName, read_choice
from flows.run.runbook import runbook
from flows.run.turn import turn
from flows.run.unfinished import undo_unfinished
from tasks.infra.task import gpu_nodes, read_infrastructure
from tasks.rollout.task import confirm, put_back


@runbook(name="slipway-rollback", run_name="roll {model} back in {environment}")
def rollback(
    model: ModelName,
    environment: EnvironmentName,
    release: str | None = Field(None, description="the release to put back; default: what the ledger says"),
    unfinished: bool = Field(False, description="only undo a rollout whose run died; else touch nothing"),
    measure_from: Measured = "cluster",
) -> str | None:
    """Put back the release of a model that served before.

    The same call again changes nothing.
    """
    choice = read_choice(model, environment)
    with turn(choice.environment):
        if unfinished:
            return undo_unfinished(choice.model, choice.environment, measure_from)
        site = read_infrastructure(choice.environment)
        gpu_nodes(site, choice.model)
        target = put_back(site, choice.model, release)
        if target:
            confirm(site, choice.model, "rollback", measure_from)
        return target
