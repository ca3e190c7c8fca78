"""Rollback: put back the release that served before; the same call again changes nothing."""

from __future__ import annotations

from pydantic import Field

from flows.choices import EnvironmentName, ModelName, read_choice
from flows.graph import runbook
from flows.turn import turn
from tasks.infra.task import gpu_nodes, read_infrastructure
from tasks.rollout.task import confirm, put_back


@runbook(name="rollback", run_name="roll {model} back in {environment}")
def rollback(
    model: ModelName,
    environment: EnvironmentName,
    release: str | None = Field(None, description="the release to put back; default: what the ledger says"),
) -> str | None:
    """Put back what served before, from what was written down before the last rollout.

    Args:
        model: A file of models/, by its name.
        environment: A file of environments/, by its name.
        release: The release to put back; by default the one the ledger names.
    """
    what, where = read_choice(model, environment)
    with turn(where):
        storage, cluster = read_infrastructure(where)
        gpu_nodes(where, cluster)
        target = put_back(what, where, storage, cluster, release)
        if target:
            confirm(what, where, storage, cluster, "rollback")
        return target
