"""The names of tasks before they run."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from prefect.client.schemas.objects import StateDetails
from prefect.states import Completed, Running
from prefect.tasks import _infer_parent_task_runs
from prefect.utilities.collections import visit_collection
from prefect.utilities.engine import collect_task_run_inputs_sync, resolve_to_final_result

from flows.run.graph import Input, edge, waiting_name
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


def test_what_comes_after_a_task_has_one_edge_whatever_that_task_gave() -> None:
    """Its result holds what other tasks gave: Prefect knows them by `id()`."""
    inner, outer = uuid4(), uuid4()
    volume: Any = Completed(state_details=StateDetails(task_run_id=inner))
    ended: Any = Completed(data=[volume], state_details=StateDetails(task_run_id=outer))
    found = collect_task_run_inputs_sync([ended])
    assert {one.id for one in found} == {inner, outer}
    assert {one.id for one in collect_task_run_inputs_sync([edge(ended)])} == {outer}


def test_what_comes_after_a_task_can_wait_for_it_though_its_result_is_left_out() -> None:
    """As Prefect waits: it resolves the state, and one without data raises MissingResult."""
    ended: Any = Completed(data="bucket", state_details=StateDetails(task_run_id=uuid4()))
    visit_collection(
        [edge(ended)], visit_fn=resolve_to_final_result, return_data=False, max_depth=-1, context={}
    )
