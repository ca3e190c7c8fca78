"""What a rollout calls to ask both releases: it reads vLLM's own key, shows a table, and raises where the new one is worse."""

from __future__ import annotations

from typing import Any, cast

import pytest

from tasks.records.errors import ValidationFailed
from tasks.records.names import KEY_SECRET
from tasks.site import Site
from tasks.validation import task
from tests.support.builders import a_model

MODEL = a_model(answers={}, rollout={"pairs": {"count": 40}})


class Place:
    """A site with a cluster that nobody asks."""

    name, namespace, environment = "staging", "llm", None

    def cluster(self) -> None:
        return None


def asked(monkeypatch: pytest.MonkeyPatch, slower: float) -> tuple[dict[str, Any], Any]:
    """What was told and shown, and what came of it, where each answer takes `slower` longer of the new release."""
    seen: dict[str, Any] = {}

    def ask_pairs(cluster: Any, environment: Any, model: Any, told: Any, key: str, reporter: Any) -> Any:
        seen.update(told=told, key=key)
        return [
            {
                "name": prompt["name"],
                "side": side,
                "turn": turn,
                "text": "x",
                "tokens": ["x"],
                "logprobs": [-0.5],
                **({"seconds": [took] * told["rounds"][0]} if turn else {}),
            }
            for prompt in told["prompts"]
            for side, took in (("before", 0.1), ("now", 0.1 * (1 + slower)))
            for turn in (0, 1)
        ]

    monkeypatch.setattr(task, "ask_pairs", ask_pairs)
    monkeypatch.setattr(task, "read_key", lambda cluster, namespace, name: f"{namespace}/{name}")
    monkeypatch.setattr(task, "show_table", lambda kind, rows, title: seen.update(kind=kind, title=title))
    try:
        return seen, task.ask_beside(
            cast(Site, Place()), MODEL, ["http://a:8000/v1"], ["http://b:8000/v1"], "r1"
        )
    except ValidationFailed as failed:
        return seen, failed


def test_the_pods_are_asked_with_vllms_own_key(monkeypatch: pytest.MonkeyPatch) -> None:
    seen, paired = asked(monkeypatch, 0.0)
    assert seen["key"] == f"llm/{KEY_SECRET}"
    assert (seen["told"]["before"], seen["told"]["now"]) == (["http://a:8000/v1"], ["http://b:8000/v1"])
    assert len(seen["told"]["prompts"]) * seen["told"]["rounds"][0] >= 40
    assert (seen["kind"], seen["title"]) == ("pairs-llama", "PASS: llama beside r1")
    assert paired.verdict == "PASS"


def test_a_slower_release_is_a_failed_validation(monkeypatch: pytest.MonkeyPatch) -> None:
    seen, failed = asked(monkeypatch, 0.05)
    assert isinstance(failed, ValidationFailed)
    assert failed.cause.startswith("pairs of llama: FAIL: answers take +5.0%")
    assert seen["title"].startswith("FAIL")
