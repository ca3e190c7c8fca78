"""What a chat model is started to do beside plain answers, by its flags; one question that shows each. Pure.

It imports the standard library only: it runs in Jobs in the cluster. Wire: vLLM 0.32.0 (`message.tool_calls`, `message.reasoning`;
before 0.12 or so `reasoning_content`).
"""

from __future__ import annotations

import base64
import json
import struct
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from tasks.records.questions import NoAnswer

Ability = Literal["tool_call", "reasoning", "image"]
FLAGS: Mapping[Ability, str] = {"tool_call": "--tool-call-parser", "reasoning": "--reasoning-parser"}
MOST_TOKENS = 1024  # a model that reasons does so before it calls a function
FUNCTION = {
    "name": "get_weather",
    "description": "The weather in a city now",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


def abilities_of(extra_args: Sequence[str]) -> dict[Ability, str]:
    """The parser of each ability that the flags ask for. Tools are called by the model's own choice, which is a flag too."""
    given = {word.partition("=")[0].replace("_", "-") for word in extra_args}
    found = {ability: parser for ability, flag in FLAGS.items() if (parser := _value(extra_args, flag))}
    if "--enable-auto-tool-choice" not in given:
        found.pop("tool_call", None)
    return found


def _value(words: Sequence[str], flag: str) -> str:
    """The value of a flag, as --flag=value or in the next word."""
    for word, following in zip(words, [*words[1:], ""], strict=False):
        name, equals, joined = word.partition("=")
        if name.replace("_", "-") == flag:
            return joined if equals else following
    return ""


def ask_for(ability: Ability, parser: str, served_name: str, max_model_len: int) -> dict[str, Any]:
    """The body of a chat request that a model with the ability answers by it."""
    body: dict[str, Any] = {
        "model": served_name,
        "max_tokens": min(MOST_TOKENS, max_model_len // 2),
        "temperature": 0,
    }
    if ability == "image":
        shown = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{red_square()}"}}
        asked_of_it = {"type": "text", "text": "What colour is this?"}
        return body | {"messages": [{"role": "user", "content": [shown, asked_of_it]}], "max_tokens": 16}
    if ability == "tool_call":
        asked = "What is the weather in Paris now? Call get_weather to find out."
        tools = [{"type": "function", "function": FUNCTION}]
        return body | {"messages": [_user(asked)], "tools": tools, "tool_choice": "auto"}
    # some templates reason only where they are told to, by one of these names; Mistral's tokenizers take none
    if parser != "mistral":
        body["chat_template_kwargs"] = {"thinking": True, "enable_thinking": True}
    return body | {"messages": [_user("Is 3571 a prime number? Think it over.")]}


def red_square(side: int = 56) -> str:
    """A PNG of one colour in base64. Encoders cut images into patches of 14 or 16 pixels, and merge two by two."""
    rows = (b"\0" + b"\xe0\x10\x10" * side) * side  # each row after its filter, none

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">2I5B", side, side, 8, 2, 0, 0, 0))
    png = b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return base64.b64encode(png).decode()


def _user(content: str) -> dict[str, str]:
    return {"role": "user", "content": content}


def read_ability(ability: Ability, document: Any) -> str:
    """What the answer shows of the ability: "calls get_weather(city=Paris)". Raises NoAnswer where it does not."""
    try:
        message = document["choices"][0]["message"]
        if ability == "image":
            said = message.get("content") or message.get("reasoning") or message.get("reasoning_content")
            if not said:
                raise NoAnswer("an image is answered with nothing")
            return f"says of an image {str(said)[:40]!r}"
        if ability == "reasoning":
            thought = message.get("reasoning") or message.get("reasoning_content")
            if not thought:
                raise NoAnswer(f"no reasoning came back, only text: {_cut(message)}")
            return f"reasons in {len(thought)} characters"
        calls = message.get("tool_calls")
        if not calls:
            raise NoAnswer(f"no tool call came back, only text: {_cut(message)}")
        called = calls[0]["function"]
        arguments = json.loads(called["arguments"])
        if called["name"] != FUNCTION["name"] or not isinstance(arguments, dict):
            raise NoAnswer(f"another call came back than of {FUNCTION['name']}: {called}")
        return f"calls {called['name']}({', '.join(f'{name}={value}' for name, value in arguments.items())})"
    except NoAnswer:
        raise
    except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
        raise NoAnswer("a chat completion answers 200 without a message") from error


def _cut(message: Mapping[str, Any]) -> str:
    return repr(str(message.get("content") or "")[:120])
