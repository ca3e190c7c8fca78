"""The names of tasks before they run."""

from __future__ import annotations

from typing import Any

import pytest
from prefect.client.schemas.objects import StateDetails
from prefect.states import Completed, Running
from prefect.tasks import _infer_parent_task_runs

from flows.run.graph import Input, waiting_name
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


class AtWork(StandInFuture):
    """Of a task that runs until somebody waits for it."""

    @property
    def state(self) -> Any:
        details = StateDetails(task_run_id=self.task_run_id)
        return Running(state_details=details) if self.running else Completed()


def parents(given: Any) -> int:
    """How many tasks Prefect takes a task for a part of, by what it is given."""
    run: Any = object()
    return len(_infer_parent_task_runs(flow_run_context=run, task_run_context=None, parameters={"of": given}))


def test_a_task_is_no_part_of_its_input_that_runs() -> None:
    future: Any = AtWork("storage", None, None)
    assert parents(future) == 1
    assert parents(Input(future)) == 0


def test_an_input_that_was_waited_for_has_the_state_it_ended_in() -> None:
    given: Input[Any] = Input(AtWork("storage", "bucket", None))
    given.wait()
    assert given.state.is_completed()
    assert given.result() == "bucket"
