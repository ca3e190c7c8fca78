"""Render: every manifest a deploy would apply, completed. Reads the hub only; not a flow."""

from __future__ import annotations

from typing import Any

from flows.run.choices import EnvironmentName, ModelName, Revision, read_choice
from flows.run.stages import manifests
from tasks.staging.task import inspect_model


def render(
    model: ModelName,
    environment: EnvironmentName,
    revision: Revision = None,
) -> list[dict[str, Any]]:
    """Print the completed manifests of a model; touch nothing.

    They are what a deploy would apply, as YAML on stdout. Only the hub is read.
    """
    choice = read_choice(model, environment)
    inspection = inspect_model.fn(choice.model, revision)
    return manifests(choice.environment, choice.model, inspection)
