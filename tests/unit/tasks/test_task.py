"""What the tasks of all stages share."""

from __future__ import annotations

from tasks.records.errors import HubUnavailable
from tasks.task import retry_line


def test_a_task_that_is_tried_again_says_why_and_when() -> None:
    error = HubUnavailable("the hub at https://hub cannot be reached", evidence=["GET x: refused"])
    assert retry_line("inspect a/b", error, 1, 2, 2) == (
        "inspect a/b: the hub at https://hub cannot be reached: attempt 2 of 3 in 2.0 s"
    )
