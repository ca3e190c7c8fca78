"""How a model is asked where its file does not say."""

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


SEES = CHATS.model_copy(update={"config": {"vision_config": {"patch_size": 14}, "text_config": {}}})


@pytest.mark.parametrize(
    ("inspection", "over", "images"),
    [
        (SEES, {}, True),
        (CHATS, {}, None),
        (SEES, {"images": False}, False),
        (SEES, {"engine": {"extra_args": ["--language-model-only"]}}, None),
        (SEES, {"engine": {"extra_args": ['--limit-mm-per-prompt={"image": 0}']}}, None),
        (SEES, {"engine": {"extra_args": ['--limit-mm-per-prompt={"image": 2, "video": 0}']}}, True),
        (BASE.model_copy(update={"config": SEES.config}), {}, None),
    ],
)
def test_a_model_that_sees_is_asked_about_an_image(
    inspection: Any, over: dict[str, Any], images: bool | None
) -> None:
    assert asked(a_model(**over), inspection).images is images
