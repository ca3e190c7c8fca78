from __future__ import annotations

from typing import Any

import pytest

from tasks.rollout.namespace import being_deleted


def a_namespace(phase: str, *conditions: dict[str, str]) -> dict[str, Any]:
    return {"metadata": {"name": "llm"}, "status": {"phase": phase, "conditions": list(conditions)}}


def test_a_namespace_that_cannot_go_is_told_with_what_holds_it() -> None:
    found = being_deleted(
        a_namespace(
            "Terminating",
            {"type": "NamespaceDeletionContentFailure", "status": "False", "message": "All content successfully deleted"},
            {"type": "NamespaceContentRemaining", "status": "True", "message": "Some resources are remaining: configmaps. has 1 resource instances"},
            {"type": "NamespaceFinalizersRemaining", "status": "True", "message": "example.com/never in 1 resource instances"},
        )
    )  # fmt: skip
    assert found is not None
    assert found.cause == (
        "namespace llm is being deleted: Some resources are remaining: configmaps. has 1 resource instances; "
        "example.com/never in 1 resource instances"
    )
    assert "kubectl get namespace llm -o yaml" in str(found.next_command)
    assert "access-entries" not in str(found)


@pytest.mark.parametrize("namespace", [None, a_namespace("Active")])
def test_one_that_stays_or_is_not_there_yet_is_no_obstacle(namespace: dict[str, Any] | None) -> None:
    assert being_deleted(namespace) is None
