"""Transcripts of a real vLLM 0.32.0 (golden/), and what can come instead."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.validation.wire import Outcome, Reading

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
    assert read(trace([shed[1] + shed[2]])).failure == "error in a 200"


@pytest.mark.parametrize("name", ["chat", "comp"])
def test_a_whole_answer_is_measured(name: str) -> None:
    found = read(trace([body(name)], streaming=False))
    assert (found.failure, found.ttft, found.gaps) == ("", None, ())
    assert found.e2e == pytest.approx(0.1)
    assert found.output_tokens > 0


def test_a_refusal_is_a_failure_by_its_status() -> None:
    assert read(trace([body("err_long_stream")], status=400)).failure == "http 400"


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
        ([ROLE, content("", "stop"), USAGE, DONE], "no content"),
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
