"""What a terminal knows of a run."""

from __future__ import annotations

from typing import Any

import pytest

from flows.run.steps import Line, Mark, Steps
from tasks.records.progress import Saying, Step, StepState


def told(steps: Steps, *states: tuple[str, StepState, float]) -> list[Line]:
    return [line for id_, state, at in states for line in steps.turn_to(Step(id_, f"step {id_}", state), at)]


def test_a_step_waits_runs_and_leaves_a_line_with_the_time_it_took() -> None:
    steps = Steps()
    assert told(steps, ("a", "waiting", 0.0)) == []
    assert steps.waiting == {"a": "step a"}
    assert told(steps, ("a", "begun", 2.0)) == []
    assert not steps.waiting
    assert steps.running["a"].began == 2.0
    assert told(steps, ("a", "done", 5.5)) == [Line("done", "step a", 3.5)]
    assert not steps.running


@pytest.mark.parametrize("before", [["begun"], ["begun", "done"]])
def test_a_step_that_began_at_once_waits_for_nothing(before: list[Any]) -> None:
    steps = Steps()
    told(steps, *(("a", state, 1.0) for state in before), ("a", "waiting", 1.0))
    assert steps.waiting == {}


def test_a_step_that_failed_and_is_tried_again_leaves_a_line_for_each() -> None:
    steps = Steps()
    lines = told(steps, ("a", "begun", 0), ("a", "failed", 1), ("a", "begun", 3), ("a", "done", 7))
    assert lines == [Line("failed", "step a", 1.0), Line("done", "step a", 4.0)]


@pytest.mark.parametrize(
    ("saying", "by", "warning", "verbose", "stays"),
    [
        (Saying("staging"), "a", False, False, False),
        (Saying("staging"), None, False, False, True),  # of the flow itself
        (Saying("staging"), "gone", False, False, True),
        (Saying("staging", detail=True), "a", False, False, False),
        (Saying("staging", detail=True), None, False, False, False),
        (Saying("staging", detail=True), "a", False, True, True),
        (Saying("staging"), "a", True, False, True),
    ],
)
def test_which_lines_stay(saying: Saying, by: str | None, warning: bool, verbose: bool, stays: bool) -> None:
    steps = Steps(verbose)
    told(steps, ("a", "begun", 0))
    mark: Mark = "warning" if warning else "said"
    kept = steps.hear(saying, "staging: line", by, warning=warning)
    assert kept == ([Line(mark, "staging: line")] if stays else [])


def test_a_step_shows_its_progress_until_it_is_whole_and_then_what_it_says() -> None:
    steps = Steps()
    told(steps, ("a", "begun", 0))
    step = steps.running["a"]
    for saying, line, text in (
        (Saying("staging"), "staging: looking", "looking"),
        (Saying("staging", share=50.0), "staging: 1 of 2", "1 of 2"),
        (Saying("staging", detail=True), "staging: a file", "1 of 2"),
        (Saying("staging", share=100.0), "staging: 2 of 2", "2 of 2"),
        (Saying("staging"), "staging: checking", "checking"),
    ):
        steps.hear(saying, line, "a", warning=False)
        assert step.text == text
    assert told(steps, ("a", "done", 1)) == [Line("done", "step a", 1.0, "2 of 2")]
