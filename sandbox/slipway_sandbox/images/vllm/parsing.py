"""What --tool-call-parser and --reasoning-parser change in a chat's answer.

No model thinks here: with a reasoning parser all text is reasoning, as vLLM 0.32.0 answers where the end of thinking never comes
(tests/images/golden/parsing); with tools and a parser the first tool is called, its text arguments filled in. What
differs: a stream carries no tool calls, and a parser's own format is not read.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from slipway_sandbox.images.vllm.protocol import ChatRequest, Refusal


@dataclass(frozen=True)
class Parsers:
    """Which the command line names. `auto`: --enable-auto-tool-choice."""

    tool: bool = False
    auto: bool = False
    reasoning: bool = False

    def call(self, asked: ChatRequest) -> dict[str, Any] | None:
        """The tool call of the answer; None where no tool is offered. Raises Refusal in vLLM's words (renderers/online_renderer.py)."""
        choice = asked.tool_choice if asked.tool_choice is not None else "auto" if asked.tools else None
        if not asked.tools or choice in (None, "none"):
            return None
        if choice == "auto" and not (self.tool and self.auto):
            raise Refusal(
                '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set'
            )
        if not self.tool:
            named = choice["function"]["name"] if isinstance(choice, Mapping) else None
            said = f'function "{named}"' if named else f'"{choice}"'
            raise Refusal(f"tool_choice={said} requires --tool-call-parser to be set")
        return _called(asked.tools[0]["function"])


def _called(function: Mapping[str, Any]) -> dict[str, Any]:
    """A call with a word for each required argument."""
    arguments = dict.fromkeys((function.get("parameters") or {}).get("required") or (), "Paris")
    return {
        "id": f"chatcmpl-tool-{secrets.token_hex(8)}",
        "type": "function",
        "function": {"name": function["name"], "arguments": json.dumps(arguments)},
    }


def message(text: str, call: dict[str, Any] | None, *, reasons: bool) -> dict[str, Any]:
    """The answer's message, with keys in vLLM's order."""
    content = None if reasons or call else text
    made: dict[str, Any] = {"role": "assistant", "content": content}
    made |= dict.fromkeys(("refusal", "annotations", "audio", "function_call"))
    if call:
        made["tool_calls"] = [call]
    return made | {"reasoning": text if reasons else None}
