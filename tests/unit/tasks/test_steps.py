"""Tasks tell when they begin and end."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

import tasks.task
from tasks.records.progress import Step
from tasks.task import SETTINGS, STEPS, task

RUN = UUID(int=7)


@pytest.fixture
def heard() -> Iterator[list[Step]]:
    steps: list[Step] = []

    class Hears(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            steps.append(record.__dict__["step"])

    handler, level = Hears(), STEPS.level
    STEPS.addHandler(handler)
    STEPS.setLevel(logging.INFO)
    yield steps
    STEPS.removeHandler(handler)
    STEPS.setLevel(level)


@task(task_run_name="nodes of {of}", **SETTINGS)
def nodes(of: str) -> str:
    """Count."""
    if of == "nobody":
        raise ValueError(of)
    return of


@task(task_run_name="other", **SETTINGS)
def other() -> str:
    return nodes.fn("inner")


def within(monkeypatch: pytest.MonkeyPatch, of: Any) -> None:
    """In a run of that task."""
    context = SimpleNamespace(task=of, task_run=SimpleNamespace(id=RUN, name="its run"))
    monkeypatch.setattr(tasks.task, "TaskRunContext", SimpleNamespace(get=lambda: context))


def test_a_run_tells_that_it_begins_and_is_done(heard: list[Step], monkeypatch: pytest.MonkeyPatch) -> None:
    within(monkeypatch, nodes)
    assert nodes.fn("a") == "a"
    assert heard == [Step(str(RUN), "its run", "begun"), Step(str(RUN), "its run", "done")]


def test_a_run_that_raises_tells_that_it_failed(heard: list[Step], monkeypatch: pytest.MonkeyPatch) -> None:
    within(monkeypatch, nodes)
    with pytest.raises(ValueError, match="nobody"):
        nodes.fn("nobody")
    assert [step.state for step in heard] == ["begun", "failed"]


def test_a_function_that_another_task_calls_is_no_step(
    heard: list[Step], monkeypatch: pytest.MonkeyPatch
) -> None:
    within(monkeypatch, other)
    assert other.fn() == "inner"
    assert [step.state for step in heard] == ["begun", "done"]


def test_outside_a_run_nothing_is_told(heard: list[Step]) -> None:
    assert nodes.fn("a") == "a"
    assert heard == []


def test_prefect_has_the_name_help_and_parameters_of_the_function() -> None:
    assert (nodes.name, nodes.description) == ("nodes", "Count.")
    assert [*inspect.signature(nodes.fn).parameters] == ["of"]
