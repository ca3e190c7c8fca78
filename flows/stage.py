"""Stage: a model's weights from the hub into the environment's bucket, before a GPU is there."""

from __future__ import annotations

from flows.run.choices import EnvironmentName, ModelName, Revision, check_comes_in, read_choice
from flows.run.runbook import runbook
from flows.run.turn import turn
from tasks.infra.task import apply_storage
from tasks.records.results import StagedModel
from tasks.staging.task import inspect_model, stage_model


@runbook(name="slipway-stage", run_name="stage {model} in {environment}")
def stage(model: ModelName, environment: EnvironmentName, revision: Revision = None) -> StagedModel:
    """Copy a model into the environment's bucket, verified.

    Makes the bucket where there is none, and no cluster. A deploy then finds the weights there.
    """
    choice = read_choice(model, environment)
    check_comes_in(choice)
    inspection = inspect_model(choice.model, revision, choice.environment)
    with turn(choice.environment):
        storage = apply_storage(choice.environment)
        return stage_model(choice.environment, storage, inspection)
