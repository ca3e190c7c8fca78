"""The event of a new commit, by which automations can act."""

from __future__ import annotations

from typing import Any

import pytest

from flows.run import following
from flows.run.choices import Choice
from tasks.records.watching import HubCommit
from tests.support.builders import a_model, an_environment


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
