"""The stand-in's wire against transcripts of a real vLLM 0.32.0."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from slipway_sandbox.settings import EngineTiming
from tests.images.conftest import Launch, Pod, Serve, serving
from tests.images.golden_files import FOLDER, compare, golden_metrics, normalised, read, shape_of_metrics

CURLED = sorted(path.stem for path in FOLDER.glob("*.txt") if path.read_text("utf-8").startswith("# curl"))
CHAT = "/v1/chat/completions"


def ask(pod: Pod, path: str, document: Any, **headers: str) -> httpx.Response:
    return httpx.post(pod.url + path, json=document, headers=headers, trust_env=False, timeout=10)


def events(text: str) -> list[Any]:
    lines = [line.removeprefix("data: ") for line in text.splitlines() if line]
    return [line if line == "[DONE]" else json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def slow_vllm(launch_session: Launch, tiny_llama: Path) -> Pod:
    """As `vllm`, with tokens 40 ms apart: a busy machine sends tokens that are due together in one chunk."""
    flags = ("--max-model-len", "512")
    timing = EngineTiming(0.05, 0.02, 0.030, 0.040)
    return serving(launch_session, tiny_llama)(
        *flags, timing=timing, env={"HOSTNAME": "vllm-0"}
    ).until_ready()


@pytest.mark.parametrize("name", CURLED)
def test_an_answer_is_that_of_a_real_vllm(slow_vllm: Pod, name: str) -> None:
    golden = read(name)
    answer = httpx.request(
        golden.method,
        slow_vllm.url + golden.path,
        content=golden.body,
        headers=golden.headers,
        trust_env=False,
        timeout=10,
    )
    compare(answer, golden)


@pytest.mark.parametrize("name", CURLED)
def test_the_headers_are_those_of_a_real_vllm(vllm: Pod, name: str) -> None:
    golden = read(name)
    answer = httpx.request(
        golden.method, vllm.url + golden.path, content=golden.body, headers=golden.headers, trust_env=False
    )
    ours = {k.lower(): v for k, v in answer.headers.items() if k.lower() not in ("date", "content-length")}
    assert ours == {k: v for k, v in golden.answer_headers.items() if k not in ("date", "content-length")}
    assert ("content-length" in golden.answer_headers) == ("content-length" in answer.headers)


@pytest.mark.parametrize(("name", "stream"), [("err_long", False), ("err_long_stream", True)])
def test_a_prompt_of_too_many_characters_is_refused_before_it_is_tokenized(
    vllm: Pod, name: str, stream: bool
) -> None:
    body = {"model": "tiny", "prompt": "hello world " * 700, "stream": stream}
    answer = ask(vllm, "/v1/completions", body)
    assert answer.status_code == 400
    assert normalised(answer.text) == normalised(read(name).answer)


def test_a_prompt_of_too_many_tokens_is_refused(vllm: Pod) -> None:
    answer = ask(vllm, "/v1/completions", {"model": "tiny", "prompt": [7] * 600})
    assert answer.json()["error"]["message"].startswith(
        "This model's maximum context length is 512 tokens. However, your prompt contains 600 input tokens"
    )


def test_the_metrics_page_has_every_line_of_the_real_one(serve: Serve) -> None:
    pod = serve("--max-model-len", "512").until_ready()
    httpx.get(pod.url + "/v1/models", trust_env=False)
    page = httpx.get(pod.url + "/metrics", trust_env=False)
    assert page.headers["content-type"] == "text/plain; version=1.0.0; charset=utf-8"
    assert shape_of_metrics(page.text) == golden_metrics()


def test_metrics_count_what_was_generated(vllm: Pod) -> None:
    def value(series: str) -> float:
        page = httpx.get(vllm.url + "/metrics", trust_env=False).text
        return float(re.search(rf"^vllm:{re.escape(series)} (\S+)$", page, re.M)[1])  # type: ignore[index]

    series = (
        'generation_tokens_total{engine="0",model_name="tiny"}',
        'request_success_total{engine="0",finished_reason="length",model_name="tiny"}',
        'time_to_first_token_seconds_count{engine="0",model_name="tiny"}',
        'inter_token_latency_seconds_count{engine="0",model_name="tiny"}',
    )
    before = [value(name) for name in series]
    body = {"model": "tiny", "prompt": "count me", "max_tokens": 9, "ignore_eos": True}
    assert ask(vllm, "/v1/completions", body).json()["usage"]["completion_tokens"] == 9
    *counts, gaps = [value(n) - b for n, b in zip(series, before, strict=True)]
    assert counts == [9, 1, 1]
    assert 1 <= gaps <= 8  # tokens that came in one step have no gap between them


def test_the_same_prompt_and_seed_give_the_same_text(vllm: Pod) -> None:
    body = {"model": "tiny", "prompt": "again", "max_tokens": 12, "seed": 7}
    texts = [ask(vllm, "/v1/completions", body).json()["choices"][0]["text"] for _ in range(2)]
    other = ask(vllm, "/v1/completions", body | {"seed": 8}).json()["choices"][0]["text"]
    assert texts[0] == texts[1] != other


def test_a_stream_says_the_same_as_the_whole_answer(vllm: Pod) -> None:
    body = {"model": "tiny", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 40}
    whole = ask(vllm, CHAT, body).json()["choices"][0]["message"]["content"]
    *chunks, done = events(ask(vllm, CHAT, body | {"stream": True}).text)
    assert done == "[DONE]"
    assert "".join(chunk["choices"][0]["delta"]["content"] for chunk in chunks) == whole


def test_n_choices_come_in_one_answer(vllm: Pod) -> None:
    body = {"model": "tiny", "prompt": "three", "max_tokens": 5, "n": 3}
    answer = ask(vllm, "/v1/completions", body).json()
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2]
    assert len({choice["text"] for choice in answer["choices"]}) == 3
    assert answer["usage"]["completion_tokens"] == 15


def test_every_choice_of_a_stream_ends(vllm: Pod) -> None:
    body = {"model": "tiny", "prompt": "three", "max_tokens": 5, "n": 3, "stream": True}
    *chunks, done = events(ask(vllm, "/v1/completions", body).text)
    ends = [c["choices"][0]["index"] for c in chunks if c["choices"][0]["finish_reason"]]
    assert sorted(ends) == [0, 1, 2]
    assert done == "[DONE]"


def test_a_stop_string_ends_the_text_before_it(vllm: Pod) -> None:
    body = {"model": "tiny", "prompt": "stop", "max_tokens": 40, "ignore_eos": True}
    text: str = ask(vllm, "/v1/completions", body).json()["choices"][0]["text"]
    stop = text[20:23]
    streamed = ask(vllm, "/v1/completions", body | {"stop": [stop], "stream": True})
    *chunks, _ = events(streamed.text)
    assert "".join(c["choices"][0]["text"] for c in chunks) == text[: text.index(stop)]
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"
    assert chunks[-1]["choices"][0]["stop_reason"] == stop


def test_a_model_that_may_stop_does_so_by_itself(vllm: Pod) -> None:
    choice = ask(
        vllm, "/v1/completions", {"model": "tiny", "prompt": "x" * 9, "max_tokens": 500, "seed": 5}
    ).json()
    assert choice["choices"][0]["finish_reason"] == "stop"
    assert choice["choices"][0]["stop_reason"] is None
    assert 64 <= choice["usage"]["completion_tokens"] < 500


def test_detokenize_undoes_tokenize(vllm: Pod) -> None:
    tokens = ask(vllm, "/tokenize", {"model": "tiny", "prompt": "the lazy dog"}).json()["tokens"]
    assert ask(vllm, "/detokenize", {"model": "tiny", "tokens": tokens}).json() == {"prompt": "the lazy dog"}


def test_two_wrong_fields_are_reported_together(vllm: Pod) -> None:
    error = ask(vllm, CHAT, {"messages": "hi", "n": "many"}).json()["error"]
    assert error["message"].startswith("2 validation errors:\n  {'type': 'int_parsing', 'loc': 'body.n'")


@pytest.fixture(scope="module")
def guarded(launch_session: Launch, tiny_llama: Path) -> Pod:
    """A vLLM with an API key and with request ids in its headers."""
    flags = ("--enable-request-id-headers", "--api-key", "sesame", "other")
    return serving(launch_session, tiny_llama)(*flags).until_ready()


def test_a_key_opens_v1_and_nothing_else_asks_for_one(guarded: Pod) -> None:
    golden = (FOLDER / "apikey.txt").read_text("utf-8")
    for headers in ({}, {"Authorization": "Bearer x"}, {"X-API-Key": "sesame"}):
        refused = httpx.get(guarded.url + "/v1/models", headers=headers, trust_env=False)
        assert refused.status_code == 401
        assert refused.text in golden
        assert "vary" not in refused.headers
    for key in ("sesame", "other"):
        allowed = httpx.get(
            guarded.url + "/v1/models", headers={"Authorization": f"Bearer {key}"}, trust_env=False
        )
        assert allowed.status_code == 200
    for path in ("/health", "/metrics", "/version", "/load", "/ping"):
        assert httpx.get(guarded.url + path, trust_env=False).status_code == 200
    assert ask(guarded, "/tokenize", {"model": "tiny", "prompt": "x"}).status_code == 200


def test_request_ids_come_back_when_asked_for(guarded: Pod) -> None:
    headers = {"X-Request-Id": "abc-1", "Authorization": "Bearer sesame"}
    answer = ask(guarded, "/v1/completions", {"model": "tiny", "prompt": "x", "max_tokens": 1}, **headers)
    assert answer.headers["x-request-id"] == "abc-1"
    assert answer.json()["id"] == "cmpl-abc-1"


def test_log_probabilities_are_of_each_token_and_alike_each_time(vllm: Pod) -> None:
    body = {
        "model": "tiny",
        "messages": [{"role": "user", "content": "x"}],
        "max_tokens": 6,
        "logprobs": True,
    }
    one, other = (ask(vllm, "/v1/chat/completions", body | {"top_logprobs": 1}).json() for _ in range(2))
    content = one["choices"][0]["logprobs"]["content"]
    assert content == other["choices"][0]["logprobs"]["content"]
    assert len(content) == one["usage"]["completion_tokens"] == 6
    for token in content:
        assert list(token) == ["token", "logprob", "bytes", "top_logprobs"]
        assert token["logprob"] <= 0
        assert bytes(token["bytes"]).decode() == token["token"]
        assert len(token["top_logprobs"]) == 1
    assert (
        ask(vllm, "/v1/chat/completions", body | {"logprobs": False}).json()["choices"][0]["logprobs"] is None
    )


def test_answers_can_be_altered_by_a_fault(vllm: Pod) -> None:
    body = {
        "model": "tiny",
        "messages": [{"role": "user", "content": "x"}],
        "max_tokens": 6,
        "logprobs": True,
    }

    def content() -> list[tuple[str, float]]:
        found = ask(vllm, "/v1/chat/completions", body).json()["choices"][0]["logprobs"]["content"]
        return [(one["token"], one["logprob"]) for one in found]

    before = content()
    vllm.faults.set("engine-altered-answers", value=0.5)
    try:
        lowered = content()
        assert [token for token, _ in lowered] == [token for token, _ in before]
        assert [was - now for (_, was), (_, now) in zip(before, lowered, strict=True)] == pytest.approx(
            [0.5] * 6
        )
        vllm.faults.clear("engine-altered-answers")
        vllm.faults.set("engine-altered-answers")
        assert [token for token, _ in content()] != [token for token, _ in before]
    finally:
        vllm.faults.clear()
