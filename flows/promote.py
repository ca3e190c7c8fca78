"""Promote: what was proven in one environment comes into the next; nothing is rebuilt, nothing else comes in."""

from __future__ import annotations

from pydantic import Field

from flows.choices import EnvironmentName, ModelName, read_choice
from flows.graph import runbook
from flows.stages import take_through
from tasks.infra.task import read_infrastructure
from tasks.records.catalogue import load_environment
from tasks.records.errors import InputError
from tasks.rollout.ledger import ReleaseRecord
from tasks.rollout.task import proven_release
from tasks.staging.task import inspect_proven
from tasks.validation.task import check_load


@runbook(name="promote", run_name="promote {model} to {environment}")
def promote(
    model: ModelName,
    environment: EnvironmentName,
    source: str | None = Field(
        None, description="where it was proven; default: the environment's promote_from"
    ),
) -> ReleaseRecord:
    """Deploy into an environment exactly the commit, image and flags that are proven in another.

    Args:
        model: A file of models/, by its name.
        environment: The environment to promote into.
        source: The environment it was proven in; by default the one `promote_from` names.
    """
    what, where = read_choice(model, environment)
    origin = source or where.promote_from
    if where.promote_from and origin != where.promote_from:
        raise InputError(
            f"only what was proven in {where.promote_from} may come into {environment}",
            next_command=f"slipway promote {model} -e {environment}",
        )
    if not origin:
        raise InputError(
            f"{environment} does not say where promotions come from",
            next_command=f"slipway promote {model} -e {environment} --from ENVIRONMENT",
        )
    check_load(what)
    proven_in = load_environment(origin)
    storage, _ = read_infrastructure(proven_in)
    release = proven_release(what, proven_in, storage)
    inspection, staged = inspect_proven(release, storage, proven_in)
    return take_through(what, where, inspection, proven=staged)
