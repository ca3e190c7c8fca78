"""Preflight: whether a deploy could succeed, and why. Reads the hub and AWS, changes nothing."""

from __future__ import annotations

from pydantic import Field

from flows.run.choices import EnvironmentName, ModelName, Revision, check_names, read_choice
from flows.run.conclude import here
from flows.run.runbook import runbook
from flows.run.stages import manifests
from tasks.cache.task import choose_weights
from tasks.preflight.task import judge_feasible, settled
from tasks.records.results import Feasibility
from tasks.staging.task import inspect_model


@runbook(name="slipway-preflight", run_name="can {model} be deployed to {environment}")
def preflight(
    model: ModelName,
    environment: EnvironmentName,
    revision: Revision = None,
    explain: bool = Field(False, description="show the GPU memory sum, line by line"),
    as_reader: bool = Field(
        False, description="a worker elsewhere deploys: leave out the rights and the network of who asks"
    ),
) -> Feasibility:
    """Judge whether a deploy can succeed; touch nothing."""
    choice = read_choice(model, environment)
    check_names(choice)
    # who only reads has no right to the hub's token in the environment's secret
    whose_token = None if as_reader else choice.environment
    inspection = here(inspect_model)(choice.model, revision, whose_token)
    weights = here(choose_weights)(choice.environment, choice.model, inspection)
    chosen = settled(choice.model, inspection).with_weights(weights.how)
    documents = manifests(choice.environment, chosen, inspection)
    return here(judge_feasible)(
        choice.environment, chosen, inspection, documents, weights, as_reader=as_reader
    )
