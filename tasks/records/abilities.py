"""What a chat model is started to do beside plain answers, by its flags; one question that shows each. Pure.

It imports the standard library only: it runs in Jobs in the cluster. Wire: vLLM 0.32.0 (`message.tool_calls`, `message.reasoning`;
before 0.12 or so `reasoning_content`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from tasks.records.questions import NoAnswer

Ability = Literal["tool_call", "reasoning"]
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
    if ability == "tool_call":
        asked = "What is the weather in Paris now? Call get_weather to find out."
        tools = [{"type": "function", "function": FUNCTION}]
        return body | {"messages": [_user(asked)], "tools": tools, "tool_choice": "auto"}
    # some templates reason only where they are told to, by one of these names; Mistral's tokenizers take none
    if parser != "mistral":
        body["chat_template_kwargs"] = {"thinking": True, "enable_thinking": True}
    return body | {"messages": [_user("Is 3571 a prime number? Think it over.")]}


def _user(content: str) -> dict[str, str]:
    return {"role": "user", "content": content}


def read_ability(ability: Ability, document: Any) -> str:
    """What the answer shows of the ability: "calls get_weather(city=Paris)". Raises NoAnswer where it does not."""
    try:
        message = document["choices"][0]["message"]
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
