"""Which models a run of wake-due wakes, and what it does about one that cannot be woken."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

import flows.run.runbook
import flows.wake_due
from flows.run.choices import Choice
from flows.wake_due import AHEAD, coming, wake_due
from tasks.records.errors import ClusterError, NothingDeployed, SlipwayError
from tasks.records.model import Model
from tests.support.builders import ROOT, a_model

DUE = datetime(2026, 11, 30, 7, 30, tzinfo=UTC)


def timed(name: str, cron: str) -> Model:
    return a_model(name=name, scaling={"wake": {"cron": cron}})


MODELS = [timed("a", "30 7 * * *"), timed("b", "30 7 * * *"), timed("c", "0 8 * * *"), a_model(name="d")]


def clock(*minutes: float) -> Callable[[], datetime]:
    """So many minutes after DUE at each look; the last for ever."""
    times = [DUE + timedelta(minutes=one) for one in minutes]
    return lambda: times.pop(0) if len(times) > 1 else times[0]


def names(found: Any) -> list[str]:
    return [model.name for model in found]


def test_every_model_of_its_time_is_woken_once() -> None:
    assert names(coming(MODELS, DUE, clock(0.1))) == ["a", "b"]


def test_a_run_that_was_taken_up_a_moment_early_wakes_too() -> None:
    assert names(coming(MODELS, DUE, clock(-0.2))) == ["a", "b"]


def test_what_comes_due_while_it_wakes_others_is_woken_by_the_same_run() -> None:
    """The next run is cancelled by the deployment's limit."""
    assert names(coming(MODELS, DUE, clock(0, 31, 40))) == ["a", "b", "c"]


def test_a_time_just_after_its_last_look_is_covered_by_it() -> None:
    eight = 30 - AHEAD.total_seconds() / 60
    assert names(coming(MODELS, DUE, clock(0, eight))) == ["a", "b", "c"]


def test_of_days_without_a_worker_one_wake_is_made_up_for() -> None:
    assert names(coming(MODELS, DUE, clock(3 * 24 * 60))) == ["a", "b", "c"]


def test_by_hand_at_another_time_nothing_is_woken() -> None:
    assert names(coming(MODELS, DUE + timedelta(hours=3), clock(180))) == []


@pytest.fixture
def wake(monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, str]]:
    """Run the flow at DUE with these outcomes of waking a model."""

    def run(asked: list[str] | None = None, **errors: SlipwayError) -> dict[str, str]:
        def one(choice: Choice, measure_from: str) -> str:
            assert choice.environment.name == "staging"
            if asked is not None:
                asked.append(choice.model.name)
            if choice.model.name in errors:
                raise errors[choice.model.name]
            return "hello"

        silent = SimpleNamespace(info=lambda *of, **more: None, warning=lambda *of, **more: None)
        monkeypatch.setenv("SLIPWAY_HOME", str(ROOT))
        monkeypatch.setattr(flows.wake_due, "wake_one", one)
        monkeypatch.setattr(flows.wake_due, "read_models", lambda name: MODELS)
        monkeypatch.setattr(flows.wake_due, "coming", lambda models, began, now: models[:2])
        monkeypatch.setattr(flows.wake_due, "get_run_logger", lambda: silent)
        monkeypatch.setattr(flows.run.runbook, "show_markdown", lambda kind, text, title: None)
        return wake_due.fn("staging", 0)

    return run


def test_the_answers_come_back_by_model(wake: Callable[..., dict[str, str]]) -> None:
    assert wake() == {"a": "hello", "b": "hello"}


def test_a_model_that_was_never_deployed_there_is_left_out(wake: Callable[..., dict[str, str]]) -> None:
    assert wake(a=NothingDeployed("no release of a")) == {"b": "hello"}


def test_one_that_cannot_be_woken_keeps_no_other_from_it_and_fails_the_run(
    wake: Callable[..., dict[str, str]],
) -> None:
    asked: list[str] = []
    with pytest.raises(ClusterError, match="no GPU"):
        wake(asked, a=ClusterError("no GPU"))
    assert asked == ["a", "b"]
