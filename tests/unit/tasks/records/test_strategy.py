from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from tasks.records.model import HowToRollOut
from tasks.records.results import Endpoint, Rollout
from tasks.records.strategy import Strategy

ENDPOINT = Endpoint(
    base_url="http://gateway/llama/v1", served_name="llama", key_namespace="llm", key_secret="s"
)


def passed(strategy: Any) -> Rollout:
    return Rollout.model_validate(
        {
            "release_id": "r1",
            "revision": 1,
            "previous_release_id": None,
            "strategy": strategy,
            "endpoint": ENDPOINT,
        }
    )


@pytest.mark.parametrize("asked", ["auto", "surge", "recreate", "blue-green"])
def test_a_models_file_asks_for_a_strategy_by_its_name(asked: str) -> None:
    assert HowToRollOut.model_validate({"strategy": asked}).strategy is Strategy(asked)


@pytest.mark.parametrize("asked", ["rolling", "RollingUpdate", "Recreate", "canary", "", None, 1])
def test_what_cannot_be_asked_for_is_refused_with_what_can(asked: Any) -> None:
    with pytest.raises(ValidationError, match="must be auto, surge, recreate or blue-green"):
        HowToRollOut.model_validate({"strategy": asked})


@pytest.mark.parametrize("strategy", [s for s in Strategy if s is not Strategy.AUTO])
def test_a_rollout_is_written_and_read_with_its_strategy(strategy: Strategy) -> None:
    rollout = passed(strategy)
    assert Rollout.model_validate_json(rollout.model_dump_json()) == rollout
    assert f'"strategy":"{strategy}"' in rollout.model_dump_json()


@pytest.mark.parametrize(
    ("old", "strategy"),
    [
        ("RollingUpdate", Strategy.ROLLING),
        ("Recreate", Strategy.RECREATE),
        ("blue-green", Strategy.BLUE_GREEN),
    ],
)
def test_ledgers_of_before_are_still_read(old: str, strategy: Strategy) -> None:
    assert passed(old).strategy is strategy


def test_no_rollout_was_carried_out_by_auto() -> None:
    with pytest.raises(ValidationError):
        passed("auto")
