"""What a gateway's back end cannot do for a model. Pure."""

from __future__ import annotations

from tasks.records.environment import Environment
from tasks.records.model import Model


def why_not(model: Model, environment: Environment) -> str | None:
    """Why the environment's back end cannot serve the model; None where it can."""
    if environment.gateway.backend == "nginx":
        return None
    if model.scaling.scale_to_zero:
        return f"LiteLLM holds no request for a model that sleeps, and {model.name} has scaling.scale_to_zero"
    if model.route == "score":
        return f"LiteLLM has no /v1/score, which {model.name} is asked by"
    return None
