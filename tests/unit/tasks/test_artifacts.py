"""The keys of artifacts."""

from __future__ import annotations

from typing import Any

import pytest

from tasks.task import artifact_key

GIVEN = {"model": "tiny-llama", "environment": "staging"}


@pytest.mark.parametrize(
    ("kind", "given", "key"),
    [
        ("failure", GIVEN, "failure-tiny-llama-staging"),
        ("load-report-tiny-llama", GIVEN, "load-report-tiny-llama-staging"),
        ("gpu nodes", GIVEN, "gpu-nodes-tiny-llama-staging"),
        ("terraform-plan-staging-storage", GIVEN, "terraform-plan-staging-storage"),
        ("idle-other", {"environment": "staging"}, "idle-other-staging"),
        ("failure", {}, "failure"),
        ("failure", {"model": None, "environment": "e"}, "failure-e"),
    ],
)
def test_a_key_has_model_and_environment_once(kind: str, given: dict[str, Any], key: str) -> None:
    assert artifact_key(kind, given) == key
