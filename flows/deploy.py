"""Deploy: from the hub to a proven endpoint."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from flows.run.choices import (
    EnvironmentName,
    Measured,
    ModelName,
    Revision,
    check_comes_in,
    check_names,
    read_choice,
)
from flows.run.runbook import runbook
from flows.run.stages import FirstStage, take_through
from tasks.releases.records import Deployed
from tasks.releases.task import pin_image, take_measured
from tasks.staging.task import inspect_model
from tasks.validation.task import check_load


@runbook(name="slipway-deploy", run_name="deploy {model} to {environment}")
def deploy(
    model: ModelName,
    environment: EnvironmentName,
    revision: Revision = None,
    may_destroy: list[str] = Field([], description="terraform addresses that hold data and may be destroyed"),
    revalidate: bool = Field(
        False, description="run the load validation also where this release, load and objectives are proven"
    ),
    from_stage: Annotated[
        FirstStage,
        Field(
            description="begin with this stage: staging where infrastructure and add-ons are there, rollout where the "
            "volume was warmed with these weights last, too; refused where it is not so"
        ),
    ] = "infrastructure",
    measure_from: Measured = "cluster",
) -> Deployed:
    """Provision, stage, warm, roll out and prove a model."""
    choice = read_choice(model, environment)
    check_comes_in(choice)
    check_names(choice)
    check_load(choice.model, measure_from)
    inspection = inspect_model(choice.model, revision, choice.environment)
    return take_through(
        take_measured(pin_image(choice.model, choice.environment), choice.environment),
        choice.environment,
        inspection,
        may_destroy,
        first=from_stage,
        revalidate=revalidate,
        measure_from=measure_from,
    )
