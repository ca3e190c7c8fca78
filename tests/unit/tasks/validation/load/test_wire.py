"""Transcripts of a real vLLM 0.32.0 (golden/), and what can come instead."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.validation.load.wire import LONGEST_MESSAGE, Outcome, Reading, words

GOLDEN = Path(__file__).parent / "golden"
DUE = 100.0


def body(name: str) -> bytes:
    """The answer of one transcript, as bytes: what follows the headers."""
    raw = (GOLDEN / f"{name}.txt").read_bytes()
    return raw.partition(b"\r\n\r\n" if b"\r\n\r\n" in raw else b"\n\n")[2]


def events(name: str) -> list[bytes]:
    return [event + b"\n\n" for event in body(name).split(b"\n\n") if event.strip()]


def trace(chunks: list[bytes], *, every: float = 0.1, counted: bool = True, **over: Any) -> Reading:
    """One chunk `every` seconds from DUE on; sent when it was due."""
    made = Reading(DUE, counted=counted, streaming=over.pop("streaming", True))
    made.sent, made.status, made.ended = DUE, 200, DUE
    for name, value in over.items():
        setattr(made, name, value)
    for number, chunk in enumerate(chunks, 1):
        made.feed(DUE + every * number, chunk)
        made.ended = DUE + every * number
    return made


def read(reading: Reading) -> Outcome:
    return reading.outcome()


def event(**fields: Any) -> bytes:
    return b"data: " + json.dumps(fields).encode() + b"\n\n"


def content(text: str, finish: str | None = None) -> bytes:
    return event(choices=[{"index": 0, "delta": {"content": text}, "finish_reason": finish}])


ROLE = event(choices=[{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}])
USAGE = event(choices=[], usage={"prompt_tokens": 9, "completion_tokens": 3})
DONE = b"data: [DONE]\n\n"
GOOD = [ROLE, content("a"), content("b"), content("c", "length"), USAGE, DONE]


# ------------------------------------------------------------------ transcripts


def test_a_chat_stream_is_measured_from_its_first_content() -> None:
    # chunks: role, ";", "", " there", "si", "ot", usage, [DONE]
    found = read(trace(events("chat_stream")))
    assert found.failure == ""
    assert found.ttft == pytest.approx(0.2)  # the second chunk: the role chunk is no token
    assert (found.output_tokens, found.prompt_tokens) == (5, 16)
    assert found.tpot == pytest.approx((0.6 - 0.2) / 4)
    assert found.gaps == pytest.approx((0.2, 0.1, 0.1))  # the empty delta is no token
    assert found.e2e == pytest.approx(0.8)


@pytest.mark.parametrize(
    ("name", "tokens"), [("chat_stream_cont", 3), ("comp_stream", 5), ("chat_stream", 5)]
)
def test_tokens_are_the_servers_own_last_count(name: str, tokens: int) -> None:
    assert read(trace(events(name))).output_tokens == tokens


def test_a_stream_without_usage_counts_no_tokens() -> None:
    found = read(trace(events("chat_stream_nousage")))
    assert (found.failure, found.output_tokens, found.tpot) == ("", 0, None)


def test_an_engine_that_sheds_load_inside_a_200_has_failed() -> None:
    shed = (GOLDEN / "shed_stream.txt").read_bytes().partition(b"data: ")
    found = read(trace([shed[1] + shed[2]]))
    assert found.failure == "error in a 200"
    assert found.message.startswith("The engine is currently busy and cannot accept new requests.")


@pytest.mark.parametrize("name", ["chat", "comp"])
def test_a_whole_answer_is_measured(name: str) -> None:
    found = read(trace([body(name)], streaming=False))
    assert (found.failure, found.ttft, found.gaps) == ("", None, ())
    assert found.e2e == pytest.approx(0.1)
    assert found.output_tokens > 0


@pytest.mark.parametrize("streaming", [True, False])
@pytest.mark.parametrize(
    ("name", "status", "says"),
    [
        ("err_long_stream", 400, "This model's maximum context length is 512 tokens. However, your prompt"),
        (
            "err_badjson",
            400,
            "1 validation error: {'type': 'json_invalid', 'loc': 'body.25', 'msg': 'JSON decode",
        ),
        ("err_model", 404, "The model `nope` does not exist. Valid aliases: tiny."),
        ("notfound", 404, "Not Found"),
        ("unauthorized", 401, "Unauthorized"),
    ],
)
def test_a_refusal_is_a_failure_by_its_status_in_the_servers_words(
    name: str, status: int, says: str, streaming: bool
) -> None:
    found = read(trace([body(name)], status=status, streaming=streaming))
    assert found.failure == f"http {status}"
    assert found.message.startswith(says)
    assert "\n" not in found.message


# -------------------------------------------------------- tokens without any text


def without_text(name: str, *, first: int) -> list[bytes]:
    """A transcript whose chunks have no text from the `first` on: special tokens, as after an end of text that is ignored."""
    blank = re.compile(rb'"(content|text)":"[^"]*"')
    chunks = events(name)
    return chunks[:first] + [blank.sub(rb'"\1":""', chunk) for chunk in chunks[first:]]


def test_tokens_without_text_take_their_time() -> None:
    """The time per token ends with the last token, not with the last text: vLLM and its own bench count so."""
    # role, ";", then four tokens without text, of which the last ends the answer; usage says 5 tokens
    found = read(trace(without_text("chat_stream", first=2)))
    assert found.failure == ""
    assert found.ttft == pytest.approx(0.2)
    assert found.tpot == pytest.approx((0.6 - 0.2) / 4)
    assert found.gaps == ()


@pytest.mark.parametrize(
    ("name", "first_token", "last_token"), [("chat_stream", 0.2, 0.6), ("comp_stream", 0.1, 0.5)]
)
def test_an_answer_without_any_text_is_timed_by_its_tokens(
    name: str, first_token: float, last_token: float
) -> None:
    """A model whose first token is the end of text delivers all the same: vLLM counts a success."""
    found = read(trace(without_text(name, first=0)))
    assert (found.failure, found.output_tokens) == ("", 5)
    assert found.ttft == pytest.approx(first_token)
    assert found.tpot == pytest.approx((last_token - first_token) / 4)
    assert len(found.gaps) == 4


def test_tokens_before_the_first_text_count_in_the_time_per_token_and_not_as_the_first_text() -> None:
    found = read(trace([ROLE, content(""), content(""), content("a", "stop"), USAGE, DONE]))
    assert found.ttft == pytest.approx(0.4)
    assert found.tpot == pytest.approx((0.4 - 0.2) / 2)


def test_the_role_is_no_token_even_where_it_ends_the_answer() -> None:
    role = event(
        choices=[{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": "stop"}]
    )
    found = read(trace([role, USAGE, DONE]))
    assert (found.failure, found.ttft, found.tpot, found.output_tokens) == ("", None, None, 3)


@pytest.mark.parametrize("name", ["chat_stream", "chat_stream_cont", "comp_stream", "chat_stream_nousage"])
def test_without_pydantic_an_answer_is_read_the_same(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    chunks = events(name)
    expected = read(trace(chunks))
    monkeypatch.setattr("tasks.validation.load.wire.from_json", json.loads)
    assert read(trace(chunks)) == expected
    assert read(trace([b"data: {half\n\n"])).failure == "unreadable event"
    assert read(trace([b"data: \xff\xfe\n\n"])).failure == "unreadable event"


# ---------------------------------------------------------------------- chunks


def test_several_events_in_one_chunk_have_the_chunks_time() -> None:
    found = read(trace([ROLE + content("a") + content("b"), content("c", "stop") + USAGE + DONE]))
    assert found.ttft == pytest.approx(0.1)
    assert found.gaps == pytest.approx((0.0, 0.1))


def test_an_event_in_several_chunks_has_the_last_ones_time() -> None:
    first = content("a")
    found = read(trace([first[:9], first[9:-2], first[-2:], content("b", "stop"), USAGE, DONE]))
    assert found.ttft == pytest.approx(0.3)


def test_a_letter_split_between_chunks_is_read_whole() -> None:
    raw = b"data: " + json.dumps(
        {"choices": [{"delta": {"content": "é"}, "finish_reason": "stop"}]}, ensure_ascii=False
    ).encode() + b"\n\n"  # fmt: skip
    cut = raw.index("é".encode()) + 1
    assert read(trace([raw[:cut], raw[cut:], USAGE, DONE])).failure == ""


@given(st.lists(st.integers(1, 400), min_size=1, max_size=40))
def test_however_the_bytes_arrive_the_answer_is_the_same(sizes: list[int]) -> None:
    whole = b"".join(GOOD)
    chunks, at = [], 0
    for size in sizes:
        chunks.append(whole[at : at + size])
        at += size
    chunks.append(whole[at:])
    found = read(trace([chunk for chunk in chunks if chunk], every=0.001))
    assert (found.failure, found.output_tokens, len(found.gaps)) == ("", 3, 2)
    assert found.ttft is not None and found.e2e is not None
    assert 0 < found.ttft <= found.e2e


def test_lines_may_end_as_windows_ends_them_and_comments_are_skipped() -> None:
    crlf = [b": ping\r\n\r\n", *[chunk.replace(b"\n", b"\r\n") for chunk in GOOD]]
    assert read(trace(crlf)).failure == ""


# -------------------------------------------------------------------- failures


@pytest.mark.parametrize(
    ("chunks", "failure"),
    [
        ([], "no finish_reason"),
        ([ROLE], "no finish_reason"),
        (GOOD[:-1], "no [DONE]"),
        ([ROLE, content("a"), DONE], "no finish_reason"),
        ([ROLE, content("", "stop"), DONE], "no content"),
        ([ROLE, content("", "stop"), event(choices=[], usage={"completion_tokens": 0}), DONE], "no content"),
        ([ROLE, content("a"), event(error={"message": "engine dead", "code": 500})], "error in a 200"),
        ([ROLE, content("a"), event(error={"message": "x"}), DONE], "error in a 200"),
        ([b"data: {half\n\n"], "unreadable event"),
        ([b"data: \xff\xfe\n\n"], "unreadable event"),
        ([b"data: null\n\n"], "unreadable event"),
        ([b"data: 7\n\n"], "unreadable event"),
        ([event(choices=7)], "unreadable event"),
        ([event(choices=["x"])], "unreadable event"),
        ([event(choices=[{"delta": "x"}])], "unreadable event"),
        ([b"<html>sorry</html>\n"], "no finish_reason"),
    ],
)
def test_a_200_that_is_no_answer_is_a_failure(chunks: list[bytes], failure: str) -> None:
    found = read(trace(chunks))
    assert (found.failure, found.ttft, found.output_tokens) == (failure, None, 0)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"not json",
        b"[]",
        b'{"choices": []}',
        b'{"error": {"message": "busy", "code": 503}}',
        b'{"choices": [{"message": {"content": "x"}, "finish_reason": null}]}',
        b'{"choices": null}',
    ],
)
def test_a_whole_answer_that_is_none_is_a_failure(answer: bytes) -> None:
    assert read(trace([answer] if answer else [], streaming=False)).failure


def test_what_the_sender_saw_goes_before_what_came_back() -> None:
    assert read(trace(GOOD, failure="stalled")).failure == "stalled"


def test_thinking_aloud_is_output_too() -> None:
    """vLLM 0.32 calls it `reasoning`: the key is in golden/chat.txt."""
    thought = event(choices=[{"index": 0, "delta": {"reasoning": "hm"}, "finish_reason": None}])
    found = read(trace([ROLE, thought, content("a", "stop"), USAGE, DONE]))
    assert found.ttft == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("said", "line"),
    [
        (b'{"error": {"message": "no  room\\n left"}}', "no room left"),
        (b'{"error": "Unauthorized"}', "Unauthorized"),
        (b'{"detail": [{"msg": "Field required"}]}', '[{"msg": "Field required"}]'),
        (b'{"message": "throttled"}', "throttled"),
        (b'{"error": {"code": 7}}', '{"code": 7}'),
        (b"<html>\n<h1>502 Bad Gateway</h1>", "<html> <h1>502 Bad Gateway</h1>"),
        (b"\xff\xfe", "\ufffd\ufffd"),
        (b"[]", "[]"),
        (b"null", "null"),
        (b"", ""),
    ],
)
def test_a_refusal_is_put_into_one_line(said: bytes, line: str) -> None:
    assert words(said) == line


def test_the_words_of_a_refusal_are_cut() -> None:
    for said in (b"x" * 10**6, json.dumps({"error": {"message": "y" * 10**5}}).encode()):
        found = read(trace([said[n : n + 4096] for n in range(0, len(said), 4096)], status=500))
        assert len(found.message) == LONGEST_MESSAGE


def test_a_page_in_place_of_a_stream_is_quoted() -> None:
    found = read(trace([b": ping\n\n<html>sorry</html>\n"]))
    assert (found.failure, found.message) == ("no finish_reason", "<html>sorry</html>")


def test_an_event_that_cannot_be_read_is_quoted() -> None:
    assert read(trace([b"data: {half\n\n"])).message == "{half"


def test_a_failure_the_connection_saw_has_no_words_of_the_server() -> None:
    assert read(trace(GOOD, failure="stalled")).message == ""


# ------------------------------------------------------------------ due and sent


def test_latency_counts_from_when_a_request_was_due() -> None:
    """A generator that is late does not make the server look faster."""
    late = read(trace(GOOD, sent=DUE + 0.15))
    assert late.lateness == pytest.approx(0.15)
    assert late.ttft == pytest.approx(0.2)


def test_a_request_sent_early_is_not_late() -> None:
    assert read(trace(GOOD, sent=DUE - 0.01)).lateness == 0.0


@pytest.mark.parametrize("counted", [True, False])
def test_the_warm_up_stays_marked(counted: bool) -> None:
    assert read(trace(GOOD, counted=counted)).counted is counted


def test_one_token_has_no_time_between_tokens() -> None:
    usage = event(choices=[], usage={"prompt_tokens": 9, "completion_tokens": 1})
    found: Outcome = read(trace([ROLE, content("a", "stop"), usage, DONE]))
    assert (found.tpot, found.gaps) == (None, ())


def test_an_error_field_that_is_null_is_no_error() -> None:
    assert read(trace([*GOOD[:-2], event(choices=[], error=None), *GOOD[-2:]])).failure == ""


@pytest.mark.parametrize("usage", [None, "many", {"completion_tokens": None}, {"completion_tokens": "3"}])
def test_a_usage_that_counts_nothing_is_no_tokens(usage: Any) -> None:
    found = read(trace([*GOOD[:-2], event(choices=[], usage=usage), DONE]))
    assert (found.failure, found.output_tokens, found.tpot) == ("", 0, None)


def test_a_line_without_an_end_is_not_kept_for_ever() -> None:
    reading = trace([b"data: " + b"x" * 2**20] * 6)
    assert read(reading).failure == "unreadable event"


def test_a_body_that_never_ends_is_not_kept_for_ever() -> None:
    reading = trace([b" " * 2**24] * 5, streaming=False)
    assert read(reading).failure == "unreadable answer"


def test_a_completions_stream_is_measured_from_its_first_text() -> None:
    """No role chunk there: the first chunk with text is the first token."""
    found = read(trace(events("comp_stream")))
    assert (found.failure, found.output_tokens) == ("", 5)
    assert found.ttft == pytest.approx(0.1)
