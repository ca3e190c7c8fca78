"""Parameters of the flows: names of the catalogue, and the records they stand for."""

from __future__ import annotations

from typing import Annotated, NamedTuple

from pydantic import Field

from tasks.records.catalogue import load_environment, load_model
from tasks.records.environment import Environment
from tasks.records.model import Model

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


class Choice(NamedTuple):
    """The records that a flow's two names stand for."""

    model: Model
    environment: Environment


def read_choice(model: str, environment: str) -> Choice:
    """Read both files. Raises UnknownName or InvalidDocument, with nothing touched."""
    return Choice(load_model(model), load_environment(environment))
