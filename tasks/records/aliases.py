"""Other names that requests may call a model by: of its own file, and of the environment's, which wins. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from tasks.records.environment import Environment
from tasks.records.errors import InputError
from tasks.records.model import Model


def aliases_of(model: Model, environment: Environment) -> list[str]:
    """The aliases that lead to this model in this environment."""
    given = environment.gateway.aliases
    own = {alias for alias in model.aliases if given.get(alias, model.name) == model.name}
    return sorted(own | {alias for alias, name in given.items() if name == model.name})


def check_aliases(models: Iterable[Model], environment: Environment) -> None:
    """Raises InputError where an alias leads to two models, to none, or is a model's name."""
    known = {model.name: model for model in models}
    for alias, name in environment.gateway.aliases.items():
        if name not in known:
            raise InputError(
                f"gateway.aliases of {environment.name} gives {alias} to {name}, and there is no such model",
                next_command=f"edit environments/{environment.name}.yaml",
            )
    leads: dict[str, str] = {}
    for model in known.values():
        for alias in aliases_of(model, environment):
            if alias in known:
                raise _refused(f"{alias} is an alias of {model.name} and the name of a model", environment)
            if alias in leads:
                raise _refused(
                    f"{alias} is an alias of two models: {leads[alias]} and {model.name}", environment
                )
            leads[alias] = model.name
    for model in known.values():
        for lora in model.engine.lora:
            other = leads.get(lora.name) or (lora.name if lora.name in known else None)
            if other:
                raise _refused(
                    f"{lora.name} is an adapter of {model.name} and a name of {other}", environment
                )
            leads[lora.name] = model.name


def _refused(cause: str, environment: Environment) -> InputError:
    return InputError(
        cause,
        next_command=f"edit models/, or say it in gateway.aliases of environments/{environment.name}.yaml",
    )
