from __future__ import annotations

import pytest

import flows.promote
from flows.promote import promote
from tasks.records.errors import InputError
from tests.support.builders import an_inspection
from tests.support.reports import a_release
from tests.support.stage import RECORD, SITE, STAGED, Stage


@pytest.fixture
def promoting(stage: Stage) -> Stage:
    stage.does(flows.promote, "check_load", "a load")
    stage.does(flows.promote, "read_infrastructure", SITE)
    stage.does(flows.promote, "proven_release", a_release())
    stage.does(flows.promote, "inspect_proven", (an_inspection(), STAGED))
    return stage


def test_what_is_proven_in_the_source_is_copied_from_there(promoting: Stage) -> None:
    assert promote.fn("tiny-llama", "production", None) == RECORD
    [asked] = promoting.recorded.arguments["read_infrastructure"]
    assert asked.name == "staging"
    assert promoting.recorded.arguments["copy_model"][-1] == STAGED
    assert "stage_model" not in promoting.recorded.called


def test_another_source_than_promote_from_is_refused(promoting: Stage) -> None:
    with pytest.raises(InputError, match="only what was proven in staging"):
        promote.fn("tiny-llama", "production", "sandbox")
    assert promoting.recorded.called == []


def test_an_environment_that_names_no_source_needs_one(promoting: Stage) -> None:
    with pytest.raises(InputError, match="does not say where promotions come from"):
        promote.fn("tiny-llama", "staging", None)
    assert promote.fn("tiny-llama", "staging", "sandbox") == RECORD


def test_a_promotion_that_fails_its_load_is_undone(promoting: Stage) -> None:
    promoting.fails("validate", InputError("no load"))
    with pytest.raises(InputError, match="no load"):
        promote.fn("tiny-llama", "production", None)
    assert promoting.recorded.called[-1] == "undo"
