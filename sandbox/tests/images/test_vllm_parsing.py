"""Tool calls and reasoning of the stand-in; the reasoning against a real vLLM 0.32.0 (CPU, a random Llama, --reasoning-parser=qwen3)."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.images.conftest import Launch, Pod, serving
from tests.images.golden_files import normalised, read

CHAT = "/v1/chat/completions"
TOOL = {
    "type": "function",
    "function": {"name": "f", "parameters": {"type": "object", "required": ["city"]}},
}


@pytest.fixture(scope="module")
def parsing(launch_session: Launch, tiny_llama: Path) -> Pod:
    flags = ("--enable-auto-tool-choice", "--tool-call-parser=hermes", "--reasoning-parser=qwen3")
    return serving(launch_session, tiny_llama)("--max-model-len", "512", *flags).until_ready()


def ask(pod: Pod, **more: Any) -> httpx.Response:
    body = {"model": "tiny", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 4} | more
    return httpx.post(pod.url + CHAT, json=body, trust_env=False, timeout=10)


def shape(text: str) -> list[str]:
    """Lines without what the tokenizer decides; chunks of several tokens on a busy machine count once."""
    made = re.sub(r'"reasoning":"(?:[^"\\]|\\.)*"', '"reasoning":"…"', normalised(text))
    made = re.sub(r'"completion_tokens":\d+|"reasoning_tokens":\d+', "N", made)
    return list(dict.fromkeys(line for line in made.splitlines() if line))


@pytest.mark.parametrize("name", ["reason", "reason_stream"])
def test_reasoning_is_worded_as_by_a_real_vllm(parsing: Pod, name: str) -> None:
    golden = read(f"parsing/{name}")
    answer = httpx.post(
        parsing.url + golden.path, content=golden.body, headers=golden.headers, trust_env=False, timeout=10
    )
    assert shape(answer.text) == shape(golden.answer)


def test_an_offered_tool_is_called(parsing: Pod) -> None:
    choice = ask(parsing, tools=[TOOL], tool_choice="auto").json()["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    assert list(choice["message"])[-2:] == ["tool_calls", "reasoning"]
    [call] = choice["message"]["tool_calls"]
    assert (call["type"], call["function"]["name"]) == ("function", "f")
    assert json.loads(call["function"]["arguments"]) == {"city": "Paris"}


def test_no_tool_is_called_where_none_may_be(parsing: Pod) -> None:
    message = ask(parsing, tools=[TOOL], tool_choice="none").json()["choices"][0]["message"]
    assert "tool_calls" not in message


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        ("auto", '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set'),
        ("required", 'tool_choice="required" requires --tool-call-parser to be set'),
        ({"type": "function", "function": {"name": "f"}}, 'tool_choice=function "f" requires'),
    ],
)
def test_tools_without_a_parser_are_refused_in_vllms_words(vllm: Pod, choice: Any, said: str) -> None:
    answer = ask(vllm, tools=[TOOL], tool_choice=choice)
    assert answer.status_code == 400
    assert said in answer.json()["error"]["message"]
