"""Parameters of the flows: names of the catalogue, and the records they stand for."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated, NamedTuple

from pydantic import Field

from tasks.records.aliases import check_aliases
from tasks.records.catalogue import load_environment, load_model, names, project_root
from tasks.records.environment import Environment
from tasks.records.errors import InputError, InvalidDocument
from tasks.records.model import Model
from tasks.records.reports import MeasureFrom

MODEL_NAME = r"^[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?$"
ENVIRONMENT_NAME = r"^[a-z]([-a-z0-9]{0,30}[a-z0-9])?$"

ModelName = Annotated[
    str, Field(pattern=MODEL_NAME, title="Model", description="a file of models/, by its name")
]
EnvironmentName = Annotated[
    str,
    Field(pattern=ENVIRONMENT_NAME, title="Environment", description="a file of environments/, by its name"),
]
Revision = Annotated[
    str | None, Field(description="branch, tag or commit instead of the one in the model's file")
]

SomeModel = Annotated[
    str | None,
    Field(pattern=MODEL_NAME, title="Model", description="a file of models/; default: every one that serves"),
]

EveryEnvironment = Annotated[
    str | None,
    Field(
        pattern=ENVIRONMENT_NAME,
        title="Environment",
        description="a file of environments/; default: every one of them",
    ),
]

Measured = Annotated[
    MeasureFrom,
    Field(description="where the gateway is asked from: a Job in the cluster, or here, where this run is"),
]

ApprovedBy = Annotated[
    str,
    Field(
        max_length=200,
        description="for CI with a protection of its own: who approved it there; else a person is asked",
    ),
]
Reason = Annotated[str, Field(max_length=2000, description="why it is approved, for the ledger")]


class Choice(NamedTuple):
    """The records that a flow's two names stand for."""

    model: Model
    environment: Environment


def read_choice(model: str, environment: str) -> Choice:
    """Read both files. Raises UnknownName or InvalidDocument, with nothing touched."""
    return Choice(load_model(model), load_environment(environment))


def read_models(model: str | None) -> list[Model]:
    """That model; every one of models/ without a name. Raises UnknownName, InvalidDocument."""
    root = project_root()
    return [load_model(name, root) for name in ([model] if model else names("models", root))]


def check_names(choice: Choice) -> None:
    """Refuse aliases that lead to two models, to none, or are a model's name. Raises InputError, with nothing touched."""
    root, known = project_root(), [choice.model]
    for name in names("models", root):
        # a file that cannot be read serves nothing, and is its own deploy's affair
        with suppress(InvalidDocument):
            known.append(load_model(name, root))
    check_aliases({model.name: model for model in known}.values(), choice.environment)


def check_comes_in(choice: Choice) -> None:
    """Refuse what does not come by a promotion where only promotions may come in. Raises InputError."""
    model, environment = choice.model.name, choice.environment
    if environment.promote_from:
        raise InputError(
            f"only what was proven in {environment.promote_from} may come into {environment.name}",
            next_command=f"slipway promote {model} -e {environment.name}",
        )
