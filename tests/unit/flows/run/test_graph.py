"""The names of tasks before they run."""

from __future__ import annotations

from typing import Any

import pytest

from flows.run.graph import waiting_name
from tasks.infra.task import gpu_nodes
from tasks.rollout.task import roll_out
from tests.support.builders import a_model
from tests.support.tasks import StandInFuture

FUTURE: Any = StandInFuture("cluster", None, None)
MODEL = a_model()


@pytest.mark.parametrize(
    ("task", "arguments", "name"),
    [
        (gpu_nodes, (FUTURE, MODEL), "GPU nodes of …"),
        (roll_out, (FUTURE, MODEL, FUTURE, None, "cluster"), f"roll out {MODEL.name}"),
    ],
)
def test_a_task_is_named_by_what_is_known_of_its_arguments(
    task: Any, arguments: tuple[Any, ...], name: str
) -> None:
    assert waiting_name(task, arguments, {}) == name
