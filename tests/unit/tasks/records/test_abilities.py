"""Tool calls and reasoning: which flags promise them, what is asked, what shows them."""

from __future__ import annotations

import base64
import json
import zlib
from typing import Any

import pytest

from tasks.records.abilities import Ability, abilities_of, ask_for, read_ability, red_square
from tasks.records.questions import NoAnswer

CALL = {"id": "c", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Paris"}'}}


def message(**said: Any) -> dict[str, Any]:
    return {"choices": [{"message": {"role": "assistant", "content": None, **said}, "finish_reason": "stop"}]}


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ((), {}),
        (("--enable-auto-tool-choice", "--tool-call-parser=hermes"), {"tool_call": "hermes"}),
        (("--enable_auto_tool_choice", "--tool_call_parser", "hermes"), {"tool_call": "hermes"}),
        # tools may be named by who asks, but the model does not choose: nothing to show
        (("--tool-call-parser=hermes",), {}),
        (("--reasoning-parser=qwen3",), {"reasoning": "qwen3"}),
        (("--reasoning-parser-plugin=p.py",), {}),
    ],
)
def test_what_the_flags_promise(words: tuple[str, ...], found: dict[Ability, str]) -> None:
    assert abilities_of(words) == found


def test_a_tool_is_offered_and_the_choice_left_to_the_model() -> None:
    body = ask_for("tool_call", "hermes", "m", 8192)
    assert (body["tool_choice"], body["tools"][0]["function"]["name"]) == ("auto", "get_weather")
    assert body["max_tokens"] == 1024


@pytest.mark.parametrize(("parser", "told"), [("qwen3", True), ("mistral", False)])
def test_thinking_is_switched_on_where_a_template_may_need_it(parser: str, told: bool) -> None:
    """vLLM refuses chat_template_kwargs for Mistral's tokenizers."""
    body = ask_for("reasoning", parser, "m", 512)
    assert ("chat_template_kwargs" in body) is told
    assert body["max_tokens"] == 256


@pytest.mark.parametrize(
    ("ability", "document", "said"),
    [
        ("tool_call", message(tool_calls=[CALL]), "calls get_weather(city=Paris)"),
        ("reasoning", message(reasoning="3571 is"), "reasons in 7 characters"),
        ("image", message(content="It is red."), "says of an image 'It is red.'"),
        ("image", message(reasoning="Red, it"), "says of an image 'Red, it'"),
        ("reasoning", message(reasoning_content="3571 is"), "reasons in 7 characters"),
    ],
)
def test_what_shows_the_ability(ability: Ability, document: Any, said: str) -> None:
    assert read_ability(ability, document) == said


@pytest.mark.parametrize(
    ("ability", "document", "why"),
    [
        ("tool_call", message(content="<tool_call>{"), "no tool call came back, only text: '<tool_call>{'"),
        ("tool_call", message(tool_calls=[]), "no tool call came back"),
        ("tool_call", message(tool_calls=[{"function": {"name": "f", "arguments": "{}"}}]), "another call came back"),
        ("tool_call", message(tool_calls=[{"function": {"name": "get_weather", "arguments": "{"}}]), "without a message"),
        ("reasoning", message(content="<think>3571"), "no reasoning came back, only text: '<think>3571'"),
        ("reasoning", {"error": "x"}, "without a message"),
        ("reasoning", json.loads("[]"), "without a message"),
    ],
)  # fmt: skip
def test_what_does_not(ability: Ability, document: Any, why: str) -> None:
    with pytest.raises(NoAnswer, match=why):
        read_ability(ability, document)


def test_the_image_is_a_png_of_a_size_that_encoders_take() -> None:
    """56 pixels are whole patches of 14, merged two by two; each row is a filter's byte and three a pixel."""
    body = ask_for("image", "", "m", 8192)
    shown, asked = body["messages"][0]["content"]
    assert shown["image_url"]["url"] == f"data:image/png;base64,{red_square()}"
    assert asked["type"] == "text"
    png = base64.b64decode(red_square())
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    at = png.index(b"IDAT")
    rows = zlib.decompress(png[at + 4 : at + 4 + int.from_bytes(png[at - 4 : at], "big")])
    assert len(rows) == 56 * (1 + 3 * 56)


def test_an_image_that_nothing_is_said_of_shows_nothing() -> None:
    with pytest.raises(NoAnswer, match="answered with nothing"):
        read_ability("image", message(content=""))
