"""What a model can be asked: the routes of its task, one short question for each, and what an answer says. Pure.

Names are vLLM 0.32.0's (vllm/entrypoints: openai/chat_completion, openai/completion, pooling/embed, pooling/scoring). It serves score and
rerank below /v1 too, where it asks for the API key. It imports the standard library only: it runs in Jobs in the cluster.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

Task = Literal["generate", "embed", "score"]
Route = Literal["chat", "completions", "embeddings", "score", "rerank"]

# The first is what is asked where nobody says otherwise. vLLM scores by an embedding model too, by cosine similarity.
ROUTES: Mapping[Task, tuple[Route, ...]] = {
    "generate": ("chat", "completions"),
    "embed": ("embeddings", "score", "rerank"),
    "score": ("score", "rerank"),
}
# Below the base URL, which ends in /v1.
PATHS: Mapping[Route, str] = {
    "chat": "/chat/completions",
    "completions": "/completions",
    "embeddings": "/embeddings",
    "score": "/score",
    "rerank": "/rerank",
}
# Where an answer has its entries.
ENTRIES: Mapping[Route, str] = {
    "chat": "choices",
    "completions": "choices",
    "embeddings": "data",
    "score": "data",
    "rerank": "results",
}
NAMES: Mapping[Route, str] = {
    "chat": "a chat completion",
    "completions": "a completion",
    "embeddings": "an embedding",
    "score": "a score",
    "rerank": "a ranking",
}
GENERATING: tuple[Route, ...] = ("chat", "completions")


class NoAnswer(ValueError):
    """An answer with status 200 that is none."""


def probe_route(task: Task) -> Route:
    """The route that every model of a task has: a base model answers no chat."""
    return "completions" if task == "generate" else ROUTES[task][0]


def question(route: Route, served_name: str, tokens: int = 8) -> dict[str, Any]:
    """The body of a short request. `tokens`: of the answer at most, where it has any."""
    asked: dict[Route, dict[str, Any]] = {
        "chat": {"messages": [{"role": "user", "content": "Say one word."}], "max_tokens": tokens},
        "completions": {"prompt": "Hello", "max_tokens": tokens},
        "embeddings": {"input": "Hello"},
        "score": {"text_1": "Hello", "text_2": ["Hello"]},
        "rerank": {"query": "Hello", "documents": ["Hello"]},
    }
    greedy = {"temperature": 0} if route in GENERATING else {}
    return {"model": served_name, **asked[route], **greedy}


def read_answer(route: Route, document: Any) -> str:
    """What came back, in a few words: the text, "a vector of 1024 numbers", "score 0.98". Raises NoAnswer."""
    what = NAMES[route]
    try:
        first = document[ENTRIES[route]][0]
        if route == "embeddings":
            return f"a vector of {len(_numbers(first['embedding'], what))} numbers"
        if route in ("score", "rerank"):
            value = first["score" if route == "score" else "relevance_score"]
            return f"score {_numbers([value], what)[0]:.3g}"
        if not first.get("finish_reason"):
            raise NoAnswer(f"{what} came back unfinished")
        return _text(first)
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise NoAnswer(f"{what} answers 200 without {ENTRIES[route]}") from error


def _text(choice: Mapping[str, Any]) -> str:
    if "message" not in choice:
        return str(choice["text"])
    message = choice["message"]
    # a model that reasons has no content until it has reasoned
    return str(message["content"] or message.get("reasoning") or message.get("reasoning_content") or "")


def _numbers(values: Any, what: str) -> list[float]:
    """The values, where they are numbers. In half precision an overflow makes NaN of a whole vector."""
    if not values or not all(isinstance(one, int | float) and math.isfinite(one) for one in values):
        raise NoAnswer(f"{what} came back without numbers")
    return list(values)


def curl(
    route: Route, served_name: str, base_url: str, key_file: object, options: Sequence[str] = ()
) -> list[str]:
    """A request to try, as lines of a shell. `options`: more of curl's own."""
    return [
        f"{' '.join(('curl -s', *options))} {base_url}{PATHS[route]} \\",
        f'     -H "Authorization: Bearer $(cat {key_file})" \\',
        "     -H 'Content-Type: application/json' \\",
        f"     -d '{json.dumps(question(route, served_name, 16))}'",
    ]
