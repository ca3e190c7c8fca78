from __future__ import annotations

import gc
import json
import tracemalloc

from tasks.validation.load.instructions import Good
from tasks.validation.load.tally import Tally
from tasks.validation.load.wire import Reading

TOKENS = 128
CHOICE = {"index": 0, "delta": {"content": "a word"}, "finish_reason": None}


def event(**fields: object) -> bytes:
    return b"data: " + json.dumps({"id": "chatcmpl-1", "model": "llama", **fields}).encode() + b"\n\n"


def one_request(tally: Tally, due: float) -> int:
    """The bytes of one answer of TOKENS tokens, read and tallied."""
    reading = Reading(due, counted=True)
    reading.sent, reading.status, size = due, 200, 0
    for n in range(TOKENS):
        last = {"finish_reason": "length"} if n == TOKENS - 1 else {}
        chunk = event(choices=[CHOICE | last])
        reading.feed(due + 0.05 + 0.01 * n, chunk)
        size += len(chunk)
    for chunk in (event(choices=[], usage={"completion_tokens": TOKENS}), b"data: [DONE]\n\n"):
        reading.feed(due + 0.05 + 0.01 * TOKENS, chunk)
    reading.ended = due + 0.05 + 0.01 * TOKENS
    outcome = reading.outcome()
    assert outcome.failure == ""
    tally.add(outcome)
    return size


def test_of_a_request_less_than_a_hundredth_is_kept() -> None:
    """Issue 5: memory does not grow with the tokens that come, but by a few numbers a request."""
    tally = Tally(Good())
    one_request(tally, 0.0)  # what is made once: parsers, keys of the counter
    gc.collect()
    tracemalloc.start()
    came = sum(one_request(tally, n / 200) for n in range(1, 100))
    gc.collect()
    kept, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert came > 2**20
    assert kept < came / 100
    assert most < came / 50
    assert sum(tally.gaps.values()) == 100 * (TOKENS - 1)
