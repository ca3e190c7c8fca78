"""Questions of each task, and what counts as an answer."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from tasks.records.questions import NoAnswer, Route, curl, probe_route, question, read_answer
from tests.support.builders import a_model

EMBEDDING = {"data": [{"index": 0, "object": "embedding", "embedding": [0.25, -0.5, 1e-7]}]}
SCORE = {"data": [{"index": 0, "object": "score", "score": 0.93}]}
RANKING = {"results": [{"index": 0, "document": {"text": "a"}, "relevance_score": 0.5}]}


@pytest.mark.parametrize(
    ("route", "document", "said"),
    [
        ("chat", {"choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}]}, "Hi"),
        ("completions", {"choices": [{"text": " you", "finish_reason": "length"}]}, " you"),
        ("embeddings", EMBEDDING, "a vector of 3 numbers"),
        ("score", SCORE, "score 0.93"),
        ("rerank", RANKING, "score 0.5"),
    ],
)
def test_an_answer_is_told_in_a_few_words(route: Route, document: Any, said: str) -> None:
    assert read_answer(route, document) == said


@pytest.mark.parametrize(
    ("route", "document", "why"),
    [
        ("chat", {"choices": [{"message": {"content": "H"}, "finish_reason": None}]}, "unfinished"),
        ("embeddings", {"data": []}, "200 without data"),
        ("embeddings", {"data": [{"embedding": []}]}, "without numbers"),
        # half precision that overflowed: JSON of Python's json module
        ("embeddings", json.loads('{"data": [{"embedding": [NaN, 0.1]}]}'), "without numbers"),
        ("embeddings", {"data": [{"embedding": "AAAA"}]}, "without numbers"),
        ("score", {"data": [{"score": None}]}, "without numbers"),
        ("rerank", SCORE, "200 without results"),
        ("embeddings", ["error"], "200 without data"),
    ],
)
def test_a_200_that_is_no_answer_is_told_as_that(route: Route, document: Any, why: str) -> None:
    with pytest.raises(NoAnswer, match=why):
        read_answer(route, document)


def test_a_pod_of_a_base_model_is_asked_for_a_completion() -> None:
    assert [probe_route(task) for task in ("generate", "embed", "score")] == [
        "completions",
        "embeddings",
        "score",
    ]


def test_a_request_to_try_is_of_the_route() -> None:
    text = "\n".join(curl("embeddings", "e5", "http://gw/e5/v1", "key"))
    assert "http://gw/e5/v1/embeddings" in text
    assert json.dumps(question("embeddings", "e5")) in text


EMBED: dict[str, Any] = {"engine": {"task": "embed"}}


def test_what_is_asked_follows_from_the_task() -> None:
    assert a_model().route == "chat"
    assert a_model(**EMBED).route == "embeddings"
    assert a_model(engine={"task": "score"}).route == "score"
    assert a_model(engine={"task": "score"}, load={"endpoint": "rerank"}).route == "rerank"
    assert (a_model().streams, a_model(**EMBED).streams) == (True, False)


@pytest.mark.parametrize(
    ("over", "why"),
    [
        (EMBED | {"objectives": {"ttft": {"p95": "1s"}}}, "embed generates no tokens: nothing is measured for ttft.p95"),
        (EMBED | {"objectives": {"each": {"tpot": "50ms"}}}, "nothing is measured for each.tpot"),
        (EMBED | {"objectives": {"output_tokens_per_second": 9}}, "nothing is measured for output_tokens_per_second"),
        (EMBED | {"load": {"output_tokens": {"mean": 9}}}, "leave load.output_tokens out"),
        (EMBED | {"load": {"endpoint": "chat"}}, "load.endpoint chat is none of engine.task embed"),
        ({"load": {"endpoint": "embeddings"}}, "load.endpoint embeddings is none of engine.task generate"),
        ({"load": {"texts": 2}}, "load.texts is for embeddings, score and rerank"),
        ({"engine": {"task": "score"}, "load": {"prompts": "a.jsonl"}}, "score takes a query and documents"),
    ],
)  # fmt: skip
def test_what_the_task_does_not_have_is_refused(over: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        a_model(**over)


def test_what_the_task_has_is_accepted() -> None:
    objectives = {"e2e": {"p95": "1s"}, "each": {"e2e": "2s"}, "goodput": 0.9, "requests_per_second": 5}
    assert a_model(**EMBED, objectives=objectives).objectives.goodput == 0.9
