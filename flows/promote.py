"""Promote: what was proven in one environment comes into the next; nothing is rebuilt, nothing else comes in."""

from __future__ import annotations

from pydantic import Field

from flows.run.choices import EnvironmentName, ModelName, read_choice
from flows.run.runbook import runbook
from flows.run.stages import take_through
from tasks.infra.task import read_infrastructure
from tasks.records.catalogue import load_environment
from tasks.records.errors import InputError
from tasks.releases.records import ReleaseRecord
from tasks.releases.task import proven_release
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
    """Deploy exactly what is proven in another environment.

    Commit, image and flags come from there; the hub is not asked.
    """
    choice = read_choice(model, environment)
    allowed = choice.environment.promote_from
    origin = source or allowed
    if allowed and origin != allowed:
        raise InputError(
            f"only what was proven in {allowed} may come into {environment}",
            next_command=f"slipway promote {model} -e {environment}",
        )
    if not origin:
        raise InputError(
            f"{environment} does not say where promotions come from",
            next_command=f"slipway promote {model} -e {environment} --from ENVIRONMENT",
        )
    check_load(choice.model)
    proven_in = read_infrastructure(load_environment(origin))
    release = proven_release(proven_in, choice.model)
    inspection, staged = inspect_proven(proven_in, release)
    return take_through(choice.model, choice.environment, inspection, proven=staged)
