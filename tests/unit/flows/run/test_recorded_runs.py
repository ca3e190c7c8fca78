"""The timeline of real runs, as Prefect 3.8.8 recorded them in a sandbox (recorded/README.md says how)."""

from __future__ import annotations

import json
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from uuid import uuid4

import pytest
from prefect.client.schemas.objects import FlowRun, State, StateType, TaskRun

from flows.run.timeline import Step, critical_path, lines, overhead_seconds, steps_of

FOLDER = Path(__file__).parent / "recorded"
RUNS = ["false_edges", "first", "phases", "unchanged", "waited"]

# the stages that follow one another in every run that was proven
IN_TURN = ["roll out", "load validation", "page", "report", "release"]


def recorded(name: str) -> tuple[list[Step], float]:
    document = json.loads((FOLDER / f"{name}.json").read_text())
    return steps_of(
        FlowRun.model_validate(document["run"]),
        [State.model_validate(state) for state in document["states"]],
        [TaskRun.model_validate(task) for task in document["tasks"]],
    )


@pytest.mark.parametrize("name", RUNS)
def test_no_step_of_the_path_ends_after_the_next_begins(name: str) -> None:
    path = critical_path(recorded(name)[0])
    assert all(one.ended <= after.began for one, after in pairwise(path))


@pytest.mark.parametrize("name", RUNS)
def test_rollout_and_load_validation_follow_one_another_on_the_path(name: str) -> None:
    path = [step.name for step in critical_path(recorded(name)[0])]
    found = [next(i for i, step in enumerate(path) if step.startswith(stage)) for stage in IN_TURN]
    assert found == sorted(found)


@pytest.mark.parametrize("name", RUNS)
def test_orchestration_is_a_small_part_of_a_run(name: str) -> None:
    steps, wall = recorded(name)
    assert 0 <= overhead_seconds(critical_path(steps), wall) < 0.15 * wall


def test_the_edges_prefect_records_are_those_that_were_asked_for() -> None:
    """What is handed over quoted makes no edge: tasks that share an environment do not wait for one another."""
    steps = {step.id: step for step in recorded("first")[0]}
    edges = {step.name: {steps[one].name for one in step.after} for step in steps.values()}
    assert edges["load validation of tiny-llama"] == {
        "roll out tiny-llama",
        "last proof of tiny-llama",
    }
    assert edges["stage slipway/tiny-llama"] == {"terraform storage of sandbox"}


def test_a_phase_is_no_step_and_the_tasks_in_it_are() -> None:
    steps, _ = recorded("phases")
    names = {step.name for step in steps}
    assert not names & {"provision", "prove", "record"}
    assert {"terraform storage of sandbox", "load validation of tiny-llama"} <= names
    path = [step.name for step in critical_path(steps)]
    assert path.index("terraform storage of sandbox") < path.index("terraform cluster of sandbox")
    assert path.index("warm the cache of tiny-llama") < path.index("roll out tiny-llama")


def test_waiting_for_another_run_is_a_step_and_not_orchestration() -> None:
    steps, _ = recorded("waited")
    path = critical_path(steps)
    [waiting] = [step for step in steps if step.name == "wait for other runs"]
    assert waiting in path
    assert waiting.took > 1.0


def test_of_a_run_that_was_retried_only_the_last_attempt_counts() -> None:
    """The first attempt is the recorded one; the second begins a minute after it ended. Not recorded: put together."""
    document = json.loads((FOLDER / "unchanged.json").read_text())
    states = [State.model_validate(state) for state in document["states"]]
    first = [TaskRun.model_validate(task) for task in document["tasks"]]
    again = max(state.timestamp for state in states) + timedelta(minutes=1)
    states.append(State(type=StateType.RUNNING, name="Retrying", timestamp=again))
    second = first[0].model_copy(
        update={"id": uuid4(), "start_time": again, "end_time": again + timedelta(seconds=2)}
    )
    run = FlowRun.model_validate(document["run"]).model_copy(
        update={"end_time": again + timedelta(seconds=3)}
    )
    steps, wall = steps_of(run, states, [*first, second])
    [step] = steps
    assert step.began == 0.0
    assert step.took == pytest.approx(2.0)
    assert wall == pytest.approx(3.0)


def test_a_pause_does_not_begin_another_attempt() -> None:
    document = json.loads((FOLDER / "unchanged.json").read_text())
    states = [State.model_validate(state) for state in document["states"] if state["type"] != "COMPLETED"]
    later = max(state.timestamp for state in states) + timedelta(seconds=5)
    states += [
        State(type=StateType.PAUSED, timestamp=later),
        State(type=StateType.RUNNING, timestamp=later + timedelta(seconds=5)),
    ]
    run = FlowRun.model_validate(document["run"])
    tasks = [TaskRun.model_validate(task) for task in document["tasks"]]
    assert len(steps_of(run, states, tasks)[0]) == len(tasks)


def test_a_run_that_was_refused_before_its_first_step_has_no_timeline() -> None:
    steps, wall = recorded("refused")
    assert lines(steps, wall) == []
