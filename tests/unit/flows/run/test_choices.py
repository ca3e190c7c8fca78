from __future__ import annotations

import re
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from flows.run.choices import EnvironmentName, ModelName, read_choice
from tasks.records.catalogue import names
from tasks.records.environment import Environment
from tasks.records.errors import UnknownName
from tasks.records.model import Model
from tests.support.builders import ROOT


@pytest.fixture(autouse=True)
def at_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLIPWAY_HOME", str(ROOT))


@pytest.mark.parametrize("kind", [ModelName, EnvironmentName])
@pytest.mark.parametrize("asked", ["../x", "a/b", "", "UPPER", "-a", "a-", "a b", "x" * 41, "a;rm", "a\n"])
def test_a_flow_is_never_asked_for_what_is_no_name(kind: Any, asked: str) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(kind).validate_python(asked)


@pytest.mark.parametrize(("kind", "record"), [(ModelName, Model), (EnvironmentName, Environment)])
def test_a_flow_takes_every_name_a_file_may_have(kind: Any, record: type[Model] | type[Environment]) -> None:
    asked = TypeAdapter(kind).json_schema()["pattern"]
    assert asked == record.model_json_schema()["properties"]["name"]["pattern"]
    assert re.fullmatch(asked, "tiny-llama")


def test_every_name_of_the_project_may_be_asked_for() -> None:
    for model in names("models", ROOT):
        for environment in names("environments", ROOT):
            found = read_choice(model, environment)
            assert (found[0].name, found[1].name) == (model, environment)


@pytest.mark.parametrize(("model", "environment"), [("nope", "sandbox"), ("tiny-llama", "nope")])
def test_a_name_nobody_has_is_told_before_anything_is_touched(model: str, environment: str) -> None:
    with pytest.raises(UnknownName, match="there is no"):
        read_choice(model, environment)
