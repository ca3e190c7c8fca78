from __future__ import annotations

from typing import Any

import pytest

from tasks.cloud.node_group import issues


@pytest.mark.parametrize(
    ("group", "lines"),
    [
        ({}, []),
        ({"health": None}, []),
        ({"health": {"issues": []}}, []),
        (
            {"health": {"issues": [{"code": "AsgInstanceLaunchFailures", "message": "no capacity"}]}},
            ["AsgInstanceLaunchFailures: no capacity"],
        ),
    ],
)
def test_each_health_issue_is_a_line(group: dict[str, Any], lines: list[str]) -> None:
    assert issues(group) == lines
