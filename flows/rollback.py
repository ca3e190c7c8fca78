"""Rollback: put back the release that served before. Idempotent."""

from __future__ import annotations

from pydantic import Field

from flows.run.choices import EnvironmentName, ModelName, read_choice
from flows.run.runbook import runbook
from flows.run.turn import turn
from tasks.infra.task import gpu_nodes, read_infrastructure, read_remains
from tasks.records.environment import Environment
from tasks.records.model import Model
from tasks.releases.task import is_unfinished
from tasks.rollout.task import confirm, put_back, undo


@runbook(name="rollback", run_name="roll {model} back in {environment}")
def rollback(
    model: ModelName,
    environment: EnvironmentName,
    release: str | None = Field(None, description="the release to put back; default: what the ledger says"),
    unfinished: bool = Field(False, description="only undo a rollout whose run died; else touch nothing"),
) -> str | None:
    """Put back the release of a model that served before.

    The same call again changes nothing.
    """
    choice = read_choice(model, environment)
    with turn(choice.environment):
        if unfinished:
            return undo_for_the_dead(choice.model, choice.environment)
        site = read_infrastructure(choice.environment)
        gpu_nodes(site)
        target = put_back(site, choice.model, release)
        if target:
            confirm(site, choice.model, "rollback")
        return target


def undo_for_the_dead(model: Model, environment: Environment) -> str | None:
    """Undo the rollout of a run that was killed in it; the release that serves again."""
    _, site = read_remains(environment)
    if site is None or not is_unfinished(site, model):
        return None
    gpu_nodes(site)
    target = undo(site, model)
    if target:
        confirm(site, model, "rollback")
    return target
