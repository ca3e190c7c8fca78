"""Recover: which environments it looks into, and when it leaves a rollout to the run that works there."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import flows.recover
import flows.run.runbook
from flows.recover import recover
from tasks.records.errors import AccessDenied, ClusterBusy, ClusterError, SlipwayError
from tests.support.builders import ROOT
from tests.support.stage import SITE

Found = dict[str, list[str] | SlipwayError]


class Looks:
    """What is unfinished in each environment, and what was undone; an error is raised on a look there."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, found: Found, busy: bool = False) -> None:
        self.undone: list[tuple[str, str]] = []
        self.turns: list[str] = []
        self.busy = busy

        def read_remains(environment: Any) -> tuple[None, Any]:
            there = found.get(environment.name, [])
            if isinstance(there, SlipwayError):
                raise there
            return None, SITE.model_copy(update={"environment": environment})

        def undo_unfinished(model: Any, environment: Any, measure_from: str) -> str:
            self.undone.append((model.name, environment.name))
            return "r0"

        monkeypatch.setenv("SLIPWAY_HOME", str(ROOT))
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
        monkeypatch.setattr(flows.recover, "read_remains", read_remains)
        monkeypatch.setattr(flows.recover, "unfinished_models", lambda site, models: found.get(site.name, []))
        monkeypatch.setattr(flows.recover, "undo_unfinished", undo_unfinished)
        monkeypatch.setattr(flows.recover, "turn", self.turn)
        monkeypatch.setattr(flows.run.runbook, "show_markdown", lambda *of: None)
        monkeypatch.setattr(flows.recover, "get_run_logger", lambda: logging.getLogger("test"))

    @contextmanager
    def turn(self, environment: Any, *, give_way: bool) -> Iterator[None]:
        assert give_way
        self.turns.append(environment.name)
        if self.busy:
            raise ClusterBusy("deploy works on this cluster")
        yield


def test_what_a_dead_run_left_is_undone_in_every_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = Looks(monkeypatch, {"sandbox": ["tiny-llama"], "staging": ["llama-3-1-8b-instruct"]})
    assert recover.fn(None) == [
        "tiny-llama in sandbox: r0 serves",
        "llama-3-1-8b-instruct in staging: r0 serves",
    ]
    assert looks.turns == ["sandbox", "staging"]


def test_without_an_unfinished_rollout_no_turn_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = Looks(monkeypatch, {})
    assert recover.fn(None) == []
    assert looks.turns == []


def test_the_rollout_of_a_run_that_works_there_is_left_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = Looks(monkeypatch, {"sandbox": ["tiny-llama"]}, busy=True)
    assert recover.fn("sandbox") == []
    assert looks.undone == []


def test_an_environment_of_other_credentials_does_not_stop_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks = Looks(
        monkeypatch,
        {"production": AccessDenied("the credentials are of account 1"), "sandbox": ["tiny-llama"]},
    )
    assert recover.fn(None) == ["tiny-llama in sandbox: r0 serves"]
    assert looks.undone == [("tiny-llama", "sandbox")]


def test_an_error_in_one_environment_is_raised_after_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = Looks(monkeypatch, {"production": ClusterError("it is away"), "sandbox": ["tiny-llama"]})
    with pytest.raises(ClusterError, match="it is away"):
        recover.fn(None)
    assert looks.undone == [("tiny-llama", "sandbox")]


def test_credentials_for_no_environment_at_all_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    denied = AccessDenied("the token has expired")
    Looks(monkeypatch, {"production": denied, "sandbox": denied, "staging": denied})
    with pytest.raises(AccessDenied, match="expired"):
        recover.fn(None)


def test_one_environment_that_was_asked_for_has_to_be_readable(monkeypatch: pytest.MonkeyPatch) -> None:
    Looks(monkeypatch, {"staging": AccessDenied("the credentials are of account 1")})
    with pytest.raises(AccessDenied):
        recover.fn("staging")
