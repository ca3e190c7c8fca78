"""Render: every manifest a deploy would apply, completed. Reads the hub and the image's registry; not a flow."""

from __future__ import annotations

from typing import Any

from flows.run.choices import EnvironmentName, ModelName, Revision, read_choice
from flows.run.stages import manifests
from tasks.cache.task import choose_weights
from tasks.records.names import VALIDATION
from tasks.releases.task import pin_image
from tasks.staging.task import inspect_model


def render(
    model: ModelName,
    environment: EnvironmentName,
    revision: Revision = None,
) -> list[dict[str, Any]]:
    """Print the completed manifests of a model; touch nothing.

    They are what a deploy would apply, as YAML on stdout. Only the hub, the image's registry and, for `weights: auto`, prices are read, so the
    gateway has this model's route only, and where replicas clone a snapshot its name stands as `taken-by-warming`.
    """
    choice = read_choice(model, environment)
    inspection = inspect_model.fn(choice.model, revision)
    how = choose_weights.fn(choice.environment, choice.model, inspection).how
    documents = manifests(choice.environment, pin_image.fn(choice.model).with_weights(how), inspection)
    # the gate's Job is made for the moment it asks, with instructions of that moment
    return [each for each in documents if each["metadata"].get("labels", {}).get("app") != VALIDATION]
