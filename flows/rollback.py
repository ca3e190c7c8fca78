"""Rollback: put back the release that served before; the same call again changes nothing."""

from __future__ import annotations

from pydantic import Field

from flows.choices import EnvironmentName, ModelName, read_choice
from flows.graph import runbook
from flows.turn import turn
from tasks.infra.task import gpu_nodes, read_infrastructure, read_remains
from tasks.records.environment import Environment
from tasks.records.model import Model
from tasks.rollout.task import confirm, is_unfinished, put_back, undo


@runbook(name="rollback", run_name="roll {model} back in {environment}")
def rollback(
    model: ModelName,
    environment: EnvironmentName,
    release: str | None = Field(None, description="the release to put back; default: what the ledger says"),
    unfinished: bool = Field(False, description="only undo a rollout whose run died; else touch nothing"),
) -> str | None:
    """Put back what served before, from what was written down before the last rollout.

    Args:
        model: A file of models/, by its name.
        environment: A file of environments/, by its name.
        release: The release to put back; by default the one the ledger names.
        unfinished: Only undo a rollout whose run died, and touch nothing where there is none.
    """
    what, where = read_choice(model, environment)
    with turn(where):
        if unfinished:
            return undo_for_the_dead(what, where)
        storage, cluster = read_infrastructure(where)
        gpu_nodes(where, cluster)
        target = put_back(what, where, storage, cluster, release)
        if target:
            confirm(what, where, storage, cluster, "rollback")
        return target


def undo_for_the_dead(what: Model, where: Environment) -> str | None:
    """What a run that was killed in its rollout would have done itself; the release that serves again."""
    storage, cluster = read_remains(where)
    if storage is None or cluster is None or not is_unfinished(what, where, storage):
        return None
    gpu_nodes(where, cluster)
    target = undo(what, where, storage, cluster)
    if target:
        confirm(what, where, storage, cluster, "rollback")
    return target
