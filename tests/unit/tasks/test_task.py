"""What Prefect's side of every stage says of itself."""

from __future__ import annotations

from tasks.records.errors import HubUnavailable
from tasks.task import told_retry


def test_a_task_that_is_tried_again_says_why_and_when() -> None:
    error = HubUnavailable("the hub at https://hub cannot be reached", evidence=["GET x: refused"])
    assert told_retry("inspect a/b", error, 1, 2, 2) == (
        "inspect a/b: the hub at https://hub cannot be reached: attempt 2 of 3 in 2.0 s"
    )
