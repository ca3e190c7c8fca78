"""The flows of tests/support/standin touch nothing real: each task of a stage is replaced, or named as real."""

from __future__ import annotations

import importlib
import re
from typing import Any

import pytest

from tasks.infra.task import apply_cluster, check_account
from tests.support.standin import FLOWS
from tests.support.standin.tasks import REAL, from_stages, reached, stand_ins, without_stand_in


def places(flow: str) -> list[dict[str, Any]]:
    return reached(vars(importlib.import_module(f"flows.{flow}")))


@pytest.mark.parametrize("flow", FLOWS)
def test_each_task_of_a_stage_has_a_stand_in_or_is_named_as_real(flow: str) -> None:
    assert without_stand_in(places(flow)) == []


def test_modules_that_a_flow_imports_are_looked_through() -> None:
    assert {"flows.run.stages", "flows.run.graph", "flows.run.turn"} < {
        place["__name__"] for place in places("promote")
    }


def test_no_stand_in_is_left_of_a_task_that_is_gone() -> None:
    asked = {name for flow in FLOWS for place in places(flow) for name in from_stages(place)}
    assert {*stand_ins(), *REAL} - asked == set()
    assert REAL.isdisjoint(stand_ins())


def test_a_task_and_a_function_without_one_are_named() -> None:
    place = {"apply_cluster": apply_cluster, "apply_more": apply_cluster, "account": check_account, "re": re}
    assert without_stand_in([place]) == ["account", "apply_more"]
