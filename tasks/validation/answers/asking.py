"""Ask golden prompts twice and print each answer: tokens with log-probabilities, a vector, or scores.

    SLIPWAY_API_KEY=… python -m tasks.validation.answers.asking INSTRUCTIONS.json

A chat is asked at temperature 0 with its log-probabilities; embeddings and scores have no temperature.
One JSON object a line; the last is {"done": N} or {"failed": …}. Runs in a plain Python image, in a Job in the cluster.
Wire: vLLM 0.32.0, entrypoints/openai, ChatCompletionLogProbs: content[].token, content[].logprob; of embeddings and scores as in
tasks/records/questions.py.
"""

from __future__ import annotations

import base64
import json
import math
import os
import struct
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tasks.cloud.plain_http import UNREACHABLE, Way, ask
from tasks.cloud.waiting import REAL, Time
from tasks.records.questions import ENTRIES, PATHS, Route

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
            document, _ = ask_prompt(instructions, prompt, key, instructions["base_url"], time)
            hear({"name": prompt["name"], "turn": turn, **read_answer(instructions, prompt, document)})


def ask_prompt(
    instructions: Mapping[str, Any], prompt: Mapping[str, Any], key: str, base_url: str, time: Time = REAL
) -> tuple[Any, float]:
    """The answer's document, and the seconds it took, without those of attempts that failed. Raises AskingFailed."""
    route = _route(instructions)
    greedy = {"temperature": 0, "seed": instructions["seed"], "logprobs": True, "top_logprobs": 0}
    body = {
        "model": instructions["served_name"],
        **(greedy if route == "chat" else {}),
        **{name: value for name, value in prompt.items() if name != "name" and value},
    }
    url = f"{base_url}{PATHS[route]}"
    way = Way(instructions.get("connect_to", ""), instructions.get("authority", ""))
    said = ""
    for attempt in range(TRIES):
        if attempt:
            time.sleep(AGAIN_SECONDS)
        began = time.clock()
        try:
            answer = ask(
                url, {"Authorization": f"Bearer {key}"}, body, seconds=instructions["seconds"], way=way
            )
        except UNREACHABLE as error:
            said = f"{type(error).__name__}: {error}"
            continue
        if answer.status == 200:
            return answer.json(), time.clock() - began
        said = f"{answer.status}: {answer.text[:500]}"
        if answer.status < 500:
            break
    raise AskingFailed(f"{prompt['name']}: {said}")


def _route(instructions: Mapping[str, Any]) -> Route:
    route: Route = instructions.get("route", "chat")
    return route


def read_answer(instructions: Mapping[str, Any], prompt: Mapping[str, Any], document: Any) -> dict[str, Any]:
    """What is kept of an answer. Raises AskingFailed where it says too little."""
    name, route = prompt["name"], _route(instructions)
    what = {"chat": "log-probabilities", "embeddings": "a vector of numbers"}.get(
        route, "scores that are numbers"
    )
    try:
        if route == "chat":
            return _read_chat(document["choices"][0])
        entries = sorted(document[ENTRIES[route]], key=lambda one: int(one["index"]))
        if route == "embeddings":
            return {"vector": packed([float(number) for number in entries[0]["embedding"]])}
        return {"scores": [_finite(float(one["score"])) for one in entries]}
    except (KeyError, IndexError, TypeError, ValueError):
        raise AskingFailed(f"{name}: answered without {what}: {json.dumps(document)[:500]}") from None


def _read_chat(choice: Any) -> dict[str, Any]:
    content = choice["logprobs"]["content"]
    calls = choice["message"].get("tool_calls") or ()
    return {
        "text": choice["message"].get("content") or "",
        "tokens": [one["token"] for one in content],
        "logprobs": [float(one["logprob"]) for one in content],
        "tool_call": json.dumps(calls[0]["function"]) if calls else "",
    }


def packed(vector: list[float]) -> str:
    """A vector scaled to length one, in half precision and base64: 2.7 characters a number. Raises ValueError.

    containerd cuts a line of a log at 16 KiB. Half precision moves a vector by 3e-8 of cosine distance.
    """
    length = math.sqrt(math.fsum(_finite(number) ** 2 for number in vector))
    if not length:
        raise ValueError("a vector without length has no direction")
    return base64.b64encode(struct.pack(f"<{len(vector)}e", *(number / length for number in vector))).decode()


def _finite(number: float) -> float:
    if not math.isfinite(number):
        raise ValueError(f"{number} is no number")
    return number


def run(asked: Callable[[Mapping[str, Any], str, Callable[[dict[str, Any]], None]], None]) -> None:
    """The program of a Job: ask by the instructions of argv[1], and print each line and how it ended, without the key."""
    instructions, key = json.loads(Path(sys.argv[1]).read_text()), os.environ["SLIPWAY_API_KEY"]
    heard = 0

    def say(line: dict[str, Any]) -> None:
        nonlocal heard
        heard += "turn" in line
        # a server may repeat what it was asked with
        print(json.dumps(line).replace(key, "…"), flush=True)

    try:
        asked(instructions, key, say)
    except AskingFailed as error:
        say({"failed": str(error)})
    else:
        say({"done": heard})


if __name__ == "__main__":
    run(ask_all)
