"""Ask golden prompts twice at temperature 0 and print each answer with its log-probabilities.

    SLIPWAY_API_KEY=… python -m tasks.validation.answers.asking INSTRUCTIONS.json

One JSON object a line; the last is {"done": N} or {"failed": …}. Runs in a plain Python image, in a Job in the cluster.
Wire: vLLM 0.32.0, entrypoints/openai, ChatCompletionLogProbs: content[].token, content[].logprob.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tasks.cloud.plain_http import UNREACHABLE, ask
from tasks.cloud.waiting import REAL, Time

TIMES = 2  # the second measures the noise
AGAIN_SECONDS = 1.0
TRIES = 3


class AskingFailed(Exception):
    """A prompt got no answer; the text says which and what was answered instead."""


def ask_all(
    instructions: Mapping[str, Any], key: str, hear: Callable[[dict[str, Any]], None], time: Time = REAL
) -> None:
    """Ask each prompt, all of them before any a second time; `hear` gets each answer. Raises AskingFailed."""
    for turn in range(TIMES):
        for prompt in instructions["prompts"]:
            document = _ask(instructions, prompt, key, time)
            hear({"name": prompt["name"], "turn": turn, **_read(prompt["name"], document)})


def _ask(instructions: Mapping[str, Any], prompt: Mapping[str, Any], key: str, time: Time) -> Any:
    body = {
        "model": instructions["served_name"],
        "temperature": 0,
        "seed": instructions["seed"],
        "logprobs": True,
        "top_logprobs": 0,
        **{name: value for name, value in prompt.items() if name != "name" and value},
    }
    url = f"{instructions['base_url']}/chat/completions"
    said = ""
    for attempt in range(TRIES):
        if attempt:
            time.sleep(AGAIN_SECONDS)
        try:
            answer = ask(url, {"Authorization": f"Bearer {key}"}, body, seconds=instructions["seconds"])
        except UNREACHABLE as error:
            said = f"{type(error).__name__}: {error}"
            continue
        if answer.status == 200:
            return answer.json()
        said = f"{answer.status}: {answer.text[:500]}"
        if answer.status < 500:
            break
    raise AskingFailed(f"{prompt['name']}: {said}")


def _read(name: str, document: Any) -> dict[str, Any]:
    try:
        choice = document["choices"][0]
        content = choice["logprobs"]["content"]
        calls = choice["message"].get("tool_calls") or ()
        return {
            "text": choice["message"].get("content") or "",
            "tokens": [one["token"] for one in content],
            "logprobs": [float(one["logprob"]) for one in content],
            "tool_call": json.dumps(calls[0]["function"]) if calls else "",
        }
    except (KeyError, IndexError, TypeError, ValueError):
        raise AskingFailed(
            f"{name}: answered without log-probabilities: {json.dumps(document)[:500]}"
        ) from None


def main() -> None:
    instructions, key = json.loads(Path(sys.argv[1]).read_text()), os.environ["SLIPWAY_API_KEY"]
    heard = 0

    def say(line: dict[str, Any]) -> None:
        nonlocal heard
        heard += "turn" in line
        # a server may repeat what it was asked with
        print(json.dumps(line).replace(key, "…"), flush=True)

    try:
        ask_all(instructions, key, say)
    except AskingFailed as error:
        say({"failed": str(error)})
    else:
        say({"done": heard})


if __name__ == "__main__":
    main()
