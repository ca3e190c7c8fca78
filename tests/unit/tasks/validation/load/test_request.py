"""What the generator sends to each route."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tasks.records.objectives import EachRequest
from tasks.validation.load.request import RequestBuilder
from tasks.validation.load.sources import GivenPrompt
from tasks.validation.load.wire import Outcome, Reading
from tasks.validation.proof import instructions_for
from tests.support.builders import a_model


def sent(
    over: dict[str, Any], words: int = 40, *, index: int = 0, given: tuple[GivenPrompt, ...] = ()
) -> Any:
    """(path, body) of one request of a model's load."""
    model = a_model(**over)
    told = instructions_for(model.asked_load, "http://gw/m/v1", "m", each=EachRequest())
    head, _, body = (
        RequestBuilder(told, "key", longest=200, given=given).request(words, 7, index).partition(b"\r\n\r\n")
    )
    assert f"Content-Length: {len(body)}".encode() in head
    return head.split()[1].decode(), json.loads(body)


def test_a_chat_is_streamed_with_its_usage() -> None:
    path, body = sent({})
    assert path == "/m/v1/chat/completions"
    assert (body["stream"], body["stream_options"]) == (True, {"include_usage": True})
    assert (body["max_tokens"], body["ignore_eos"]) == (7, True)


def test_embeddings_are_asked_for_texts_and_nothing_of_text() -> None:
    path, body = sent({"engine": {"task": "embed"}, "load": {"texts": 3}})
    assert path == "/m/v1/embeddings"
    assert set(body) == {"model", "input"}
    assert [len(text.split()) for text in body["input"]] == [40, 40, 40]
    assert len(set(body["input"])) == 3


@pytest.mark.parametrize(
    ("endpoint", "query", "documents"), [("score", "text_1", "text_2"), ("rerank", "query", "documents")]
)
@pytest.mark.parametrize(("words", "asked"), [(40, 10), (400, 32), (1, 1)])
def test_a_query_and_its_documents_fit_together(
    endpoint: str, query: str, documents: str, words: int, asked: int
) -> None:
    path, body = sent({"engine": {"task": "score"}, "load": {"endpoint": endpoint, "texts": 2}}, words)
    assert path == f"/m/v1/{endpoint}"
    assert len(body[query].split()) == asked
    assert [len(text.split()) for text in body[documents]] == [max(1, words - asked)] * 2


def test_no_two_requests_have_the_same_text() -> None:
    over = {"engine": {"task": "embed"}, "load": {"texts": 2}}
    texts = [text for index in range(20) for text in sent(over, index=index)[1]["input"]]
    assert len(set(texts)) == 40


def test_a_given_prompt_is_the_input() -> None:
    given = (GivenPrompt('query: a "word"', "", None),)
    assert sent({"engine": {"task": "embed"}}, given=given)[1]["input"] == 'query: a "word"'


def ended(body: str, route: Any, status: int = 200) -> Outcome:
    reading = Reading(1.0, counted=True, streaming=False, route=route)
    reading.sent, reading.status = 1.0, status
    reading.feed(1.4, body.encode())
    reading.ended = 1.5
    return reading.outcome()


def test_a_vector_is_measured_end_to_end_and_has_no_tokens() -> None:
    body = '{"data": [{"embedding": [0.5, 0.25]}], "usage": {"prompt_tokens": 9, "completion_tokens": 0}}'
    found = ended(body, "embeddings")
    assert (found.failure, found.e2e, found.prompt_tokens, found.output_tokens) == ("", 0.5, 9, 0)
    assert (found.ttft, found.tpot, found.gaps) == (None, None, ())


@pytest.mark.parametrize(
    ("body", "status", "failure"),
    [
        ('{"data": [{"embedding": [null]}]}', 200, "an embedding came back without numbers"),
        ('{"data": []}', 200, "an embedding answers 200 without data"),
        ('{"error": {"message": "engine dead"}}', 200, "error in a 200"),
        ("[]", 200, "unreadable answer"),
        ("<html>", 200, "unreadable answer"),
        ('{"detail": "Not Found"}', 404, "http 404"),
    ],
)
def test_an_answer_that_is_none_is_a_failure_with_its_kind(body: str, status: int, failure: str) -> None:
    found = ended(body, "embeddings", status)
    assert found.failure == failure
    assert found.message
