"""Preflight: whether a deploy could succeed, and why. Reads the hub and AWS, changes nothing; not a flow."""

from __future__ import annotations

from pydantic import Field

from flows.run.choices import EnvironmentName, ModelName, Revision, read_choice
from flows.run.stages import manifests
from tasks.preflight.task import judge_feasible
from tasks.records.results import Feasibility
from tasks.staging.task import inspect_model


def preflight(
    model: ModelName,
    environment: EnvironmentName,
    revision: Revision = None,
    explain: bool = Field(False, description="show the GPU memory sum, line by line"),
) -> Feasibility:
    """Judge whether a deploy can succeed; touch nothing."""
    choice = read_choice(model, environment)
    inspection = inspect_model.fn(choice.model, revision)
    documents = manifests(choice.environment, choice.model, inspection)
    return judge_feasible.fn(choice.environment, choice.model, inspection, documents)
