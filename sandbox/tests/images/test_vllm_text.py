"""The stand-in's chat template and image parts, as vLLM 0.32.0 takes them (`validate_chat_template`, MultiModalRegistry)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from slipway_sandbox.hub import tokenizer
from slipway_sandbox.images.vllm.text import TemplateRefused, Text

TEMPLATE = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"
IMAGE = [
    {"type": "image_url", "image_url": {"url": "data:image/png;base64,"}},
    {"type": "text", "text": "what?"},
]


def a_model(folder: Path, **config: object) -> Path:
    (folder / "tokenizer.json").write_text(tokenizer.make(), encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer.config(512)))
    (folder / "config.json").write_text(json.dumps({"model_type": "llama"} | config))
    return folder


def test_a_template_that_is_given_goes_before_the_repos(tmp_path: Path) -> None:
    asked = [{"role": "user", "content": "Hello"}]
    file = tmp_path / "mine.jinja"
    file.write_text(TEMPLATE)
    folder = a_model(tmp_path)
    assert Text(folder, "m", (), TEMPLATE).render(asked) == "[user]Hello"
    assert Text(folder, "m", (), str(file)).render(asked) == "[user]Hello"
    assert "<|im_start|>user" in Text(folder, "m", ()).render(asked)


def test_a_path_without_a_file_ends_the_start(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="appears path-like, but doesn't exist"):
        Text(a_model(tmp_path), "m", (), "/models/none.jinja")


def test_an_image_is_refused_by_a_model_of_text_alone(tmp_path: Path) -> None:
    asked = [{"role": "user", "content": IMAGE}]
    with pytest.raises(TemplateRefused, match="/models/m is not a multimodal model"):
        Text(a_model(tmp_path), "/models/m", ()).render(asked)
    seeing = Text(a_model(tmp_path, vision_config={}), "/models/m", ())
    assert "what?" in seeing.render(asked)
