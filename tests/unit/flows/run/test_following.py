"""What becomes of a new commit, what is kept of it, and the event by which automations can act."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from flows.run import following
from flows.run.choices import Choice
from tasks.records.errors import (
    HubUnavailable,
    Inconclusive,
    PreflightFailed,
    RolloutFailed,
    SlipwayError,
    ValidationFailed,
)
from tasks.records.watching import HubCommit
from tasks.watch.decide import Decision
from tests.support.builders import a_model, an_environment
from tests.support.reports import a_release


def test_a_commit_becomes_an_event_of_its_model_and_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    emitted: list[dict[str, Any]] = []
    monkeypatch.setattr(following, "emit_event", lambda **event: emitted.append(event))
    newest = HubCommit(repo="acme/llama", commit="b" * 40, files=())
    following.tell(following.REFUSED, Choice(a_model(), an_environment()), newest, ["licence: none, not mit"])
    assert emitted == [
        {
            "event": "slipway.model.commit-refused",
            "resource": {
                "prefect.resource.id": "slipway.model.staging.llama",
                "prefect.resource.name": "llama",
                "slipway.environment": "staging",
            },
            "payload": {
                "repo": "acme/llama",
                "commit": "b" * 40,
                "reasons": ["licence: none, not mit"],
            },
        }
    ]


NEWEST = HubCommit(repo="acme/llama", commit="b" * 40, files=())
IS_NEW = Decision(True, "is new")


def followed(
    monkeypatch: pytest.MonkeyPatch,
    *,
    decision: Decision = IS_NEW,
    listing: tuple[str, ...] = (),
    contents: tuple[str, ...] = (),
    fails: SlipwayError | None = None,
) -> tuple[list[str], list[tuple[str, ...]]]:
    """What was done in order, and what was kept: (outcome, reasons)."""
    done: list[str] = []
    kept: list[tuple[str, ...]] = []

    def take_through(*of: Any, **named: Any) -> Any:
        done.append("rolled out")
        if fails:
            raise fails
        return SimpleNamespace(record=SimpleNamespace(release=a_release()), seconds={"own": 9.0})

    def inspect(*of: Any) -> str:
        done.append("inspected")
        return "what was inspected is passed on and not looked at"

    def keep(
        site: Any, model: Any, newest: Any, outcome: str, began: Any, reasons: Any = (), **of: Any
    ) -> str:
        kept.append((outcome, *reasons))
        return outcome

    stand_ins: dict[str, Any] = {
        "check_load": lambda *of: None,
        "read_infrastructure": lambda where: SimpleNamespace(environment=where),
        "serving_release": lambda *of: SimpleNamespace(release=a_release()),
        "newest_commit": lambda *of: NEWEST,
        "listed_commit": lambda *of: NEWEST,
        "decide_watched": lambda *of: decision,
        "judge_commit": lambda *of: list(listing),
        "inspect_model": inspect,
        "inspect_proven": lambda *of: (None, None),
        "judge_model": lambda *of: list(contents),
        "pin_image": lambda model, where: model,
        "take_measured": lambda model, where: model,
        "take_through": take_through,
        "keep_watched": keep,
        "emit_event": lambda **event: done.append(event["event"]),
    }
    for name, stand_in in stand_ins.items():
        monkeypatch.setattr(following, name, stand_in)
    try:
        following.follow(Choice(a_model(), an_environment()), False, "cluster")
    except SlipwayError as error:
        assert error is fails
        done.append("raised")
    return done, kept


def test_what_the_list_refuses_is_not_inspected_and_not_rolled_out(monkeypatch: pytest.MonkeyPatch) -> None:
    done, kept = followed(monkeypatch, listing=("licence: none", "size: large"))
    assert done == [following.REFUSED]
    assert kept == [("refused", "licence: none", "size: large")]


def test_what_its_contents_refuse_is_not_rolled_out(monkeypatch: pytest.MonkeyPatch) -> None:
    done, kept = followed(monkeypatch, contents=("architecture: another",))
    assert done == ["inspected", following.REFUSED]
    assert kept == [("refused", "architecture: another")]


def test_what_may_come_in_is_rolled_out_and_kept_as_proven(monkeypatch: pytest.MonkeyPatch) -> None:
    done, kept = followed(monkeypatch)
    assert done == ["inspected", following.ACCEPTED, "rolled out"]
    assert kept == [("proven",)]


@pytest.mark.parametrize(
    ("error", "is_kept"),
    [
        (PreflightFailed("memory"), True),
        (RolloutFailed("no GPU memory"), True),
        (ValidationFailed("answers: FAIL"), True),
        (Inconclusive("the generator was late"), False),  # the next run tries it again
        (HubUnavailable("503"), False),
    ],
)
def test_a_commit_that_failed_for_good_is_kept_as_failed(
    monkeypatch: pytest.MonkeyPatch, error: SlipwayError, is_kept: bool
) -> None:
    done, kept = followed(monkeypatch, fails=error)
    assert done[-2:] == ["rolled out", "raised"]
    assert kept == ([("failed", error.cause)] if is_kept else [])


def test_what_was_decided_about_is_left_and_what_serves_is_remembered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert followed(monkeypatch, decision=Decision(False, "was refused")) == ([], [])
    done, kept = followed(monkeypatch, decision=Decision(False, "serves", remember=True))
    assert (done, kept) == ([], [("proven",)])
