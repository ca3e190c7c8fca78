"""Deploy: from the hub to a proven endpoint."""

from __future__ import annotations

from pydantic import Field

from flows.run.choices import EnvironmentName, ModelName, Revision, read_choice
from flows.run.runbook import runbook
from flows.run.stages import take_through
from tasks.records.errors import InputError
from tasks.releases.records import ReleaseRecord
from tasks.staging.task import inspect_model
from tasks.validation.task import check_load


@runbook(name="deploy", run_name="deploy {model} to {environment}")
def deploy(
    model: ModelName,
    environment: EnvironmentName,
    revision: Revision = None,
    may_destroy: list[str] = Field([], description="terraform addresses that hold data and may be destroyed"),
    revalidate: bool = Field(
        False, description="run the load validation also where this release, load and objectives are proven"
    ),
) -> ReleaseRecord:
    """Provision, stage, warm, roll out and prove a model."""
    choice = read_choice(model, environment)
    if choice.environment.promote_from:
        raise InputError(
            f"only what was proven in {choice.environment.promote_from} may come into {environment}",
            next_command=f"slipway promote {model} -e {environment}",
        )
    check_load(choice.model)
    inspection = inspect_model(choice.model, revision)
    return take_through(choice.model, choice.environment, inspection, may_destroy, revalidate=revalidate)
