"""The keys of artifacts."""

from __future__ import annotations

from typing import Any

import pytest

from tasks import task
from tasks.task import artifact_key, show_table

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


@pytest.mark.parametrize(
    ("rows", "table"),
    [
        ([], [{"": "no difference"}]),
        ([{"resource": "aws_eks_cluster.this"}], [{"resource": "aws_eks_cluster.this"}]),
    ],
)
def test_a_table_without_rows_says_so_and_replaces_the_one_before(
    monkeypatch: pytest.MonkeyPatch, rows: list[dict[str, str]], table: list[dict[str, str]]
) -> None:
    made: list[Any] = []
    monkeypatch.setattr(task, "create_table_artifact", lambda table, **named: made.append(table))
    show_table("drift-staging", rows, "what differs")
    assert made == [table]
