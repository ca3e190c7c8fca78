"""The tags of runs, and the deployment's environment that a run keeps to."""

from __future__ import annotations

from typing import Any

import pytest

from flows.run.label import check_environment
from flows.run.tags import tags_of
from tasks.records.errors import InputError


@pytest.mark.parametrize(
    ("flow", "given", "tags"),
    [
        ("drift", {"environment": "staging"}, ["slipway", "environment:staging"]),
        (
            "slipway-deploy",
            {"model": "m", "environment": "staging"},
            ["slipway", "environment:staging", "slipway:rolls-out", "model:m"],
        ),
        ("slipway-validate", {"model": None, "environment": "e"}, ["slipway", "environment:e"]),
    ],
)
def test_a_run_is_tagged_by_what_it_works_on(flow: str, given: dict[str, Any], tags: list[str]) -> None:
    assert tags_of(flow, given) == tags


def test_a_deployment_works_on_its_own_environment_only() -> None:
    check_environment({"environment": "staging"}, [])
    check_environment({"environment": "staging"}, ["slipway", "environment:staging"])
    with pytest.raises(InputError, match="this deployment is of staging, and was asked for production"):
        check_environment({"environment": "production"}, ["environment:staging"])
