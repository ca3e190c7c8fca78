from __future__ import annotations

import pytest

import flows.deploy
from flows.deploy import deploy
from tasks.records.errors import InputError, UnknownName, ValidationFailed
from tests.support.builders import a_model, an_inspection
from tests.support.stage import DEPLOYED, Stage

PINNED = a_model(engine={"image": f"vllm/vllm-openai:v0.32.0@sha256:{'d' * 64}"})


@pytest.fixture
def deploying(stage: Stage) -> Stage:
    stage.does(flows.deploy, "check_load", "a load")
    stage.does(flows.deploy, "inspect_model", an_inspection())
    stage.does(flows.deploy, "pin_image", PINNED)
    stage.does(flows.deploy, "take_measured", PINNED)
    return stage


def test_the_load_and_the_hub_are_looked_at_first(deploying: Stage) -> None:
    assert deploy.fn("tiny-llama", "staging", None, []) == DEPLOYED
    before = ["check_load", "inspect_model", "pin_image", "take_measured", "choose_weights"]
    assert deploying.recorded.called[:5] == before


def test_what_is_judged_and_rolled_out_has_its_image_by_digest(deploying: Stage) -> None:
    deploy.fn("tiny-llama", "staging", None, [])
    for stage in ("check_feasible", "warm_cache", "roll_out", "validate"):
        assert PINNED in deploying.recorded.arguments[stage]


def test_the_revision_asked_for_is_the_one_inspected(deploying: Stage) -> None:
    deploy.fn("tiny-llama", "staging", "v2", [])
    assert deploying.recorded.arguments["inspect_model"][1] == "v2"


def test_nothing_is_deployed_where_only_promotions_come_in(deploying: Stage) -> None:
    with pytest.raises(InputError, match="only what was proven in staging") as refused:
        deploy.fn("tiny-llama", "production", None, [])
    assert refused.value.next_command == "slipway promote tiny-llama -e production"
    assert deploying.recorded.called == []


def test_an_unknown_name_touches_nothing(deploying: Stage) -> None:
    with pytest.raises(UnknownName):
        deploy.fn("nope", "staging", None, [])
    assert deploying.recorded.called == []


def test_a_failure_explains_itself_in_the_runs_artifacts(deploying: Stage) -> None:
    deploying.fails("validate", ValidationFailed("too slow", evidence=["p95 900 ms"], next_command="look"))
    with pytest.raises(ValidationFailed):
        deploy.fn("tiny-llama", "staging", None, [])
    assert deploying.shown == ["## too slow\n\n```\np95 900 ms\n```\n\n**Next:** `look`"]
