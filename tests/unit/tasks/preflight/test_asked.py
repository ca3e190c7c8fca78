"""The route a model is asked by where its file names none."""

from __future__ import annotations

from typing import Any

import pytest

from tasks.preflight.asked import asked
from tests.support.builders import a_model, an_inspection

BASE = an_inspection().model_copy(update={"documents": {"tokenizer_config.json": {}}})
CHATS = an_inspection()


@pytest.mark.parametrize(
    ("inspection", "over", "route"),
    [
        (CHATS, {}, "chat"),
        (BASE, {}, "completions"),
        (BASE, {"engine": {"extra_args": ["--chat-template=/models/t.jinja"]}}, "chat"),
        # what the file says holds, and preflight judges it
        (BASE, {"load": {"endpoint": "chat"}}, "chat"),
        (CHATS, {"load": {"endpoint": "completions"}}, "completions"),
        (BASE, {"engine": {"task": "embed"}}, "embeddings"),
        (CHATS, {"engine": {"task": "score"}}, "score"),
    ],
)
def test_a_repo_without_a_chat_template_is_asked_for_completions(
    inspection: Any, over: dict[str, Any], route: str
) -> None:
    assert asked(a_model(**over), inspection).route == route
