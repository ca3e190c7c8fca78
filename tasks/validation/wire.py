"""What came back of one request, read as it arrives: times and counts are kept, bytes are not. Pure.

Rules (docs/measuring.md): latency counts from the time a request was DUE; the first token is the first
chunk with content, never the role chunk; tokens come from `usage`; success needs a finish_reason, [DONE]
and no error event, whatever the status says.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from pydantic_core import from_json  # a few times as fast as json, and here already

LONGEST_LINE = 4 * 2**20  # of a stream; a longer one is none of vLLM's
LONGEST_BODY = 64 * 2**20  # of an answer in one piece


@dataclass(frozen=True, slots=True)
class Outcome:
    """One request, measured. Times in seconds; None where the request failed before there was one."""

    due: float
    counted: bool
    lateness: float
    failure: str
    ttft: float | None = None
    e2e: float | None = None
    tpot: float | None = None
    gaps: tuple[float, ...] = ()
    output_tokens: int = 0
    prompt_tokens: int = 0


class Reading:
    """One request from when it is due to its end. Whoever carries it sets `sent`, `status`, `ended` and a `failure` it saw
    itself; `feed` gets the body. Memory: a time for each token, until the request ends."""

    __slots__ = (
        "_content_at", "_done", "_finished", "_rest", "_usage", "_wrong",
        "counted", "due", "ended", "failure", "sent", "status", "streaming",
    )  # fmt: skip

    def __init__(self, due: float, *, counted: bool, streaming: bool = True) -> None:
        self.due, self.counted, self.streaming = due, counted, streaming
        self.sent = self.ended = 0.0
        self.status = 0
        self.failure = ""
        self._wrong = ""  # what the body itself shows
        self._rest = b""
        self._content_at: list[float] = []
        self._usage: dict[str, Any] = {}
        self._finished = self._done = False

    def feed(self, at: float, data: bytes) -> None:
        """Bytes of the body that arrived at `at`: a line has the time of its last byte."""
        if self._wrong or self.status != 200:
            return
        if not self.streaming:
            self._rest += data
            if len(self._rest) > LONGEST_BODY:
                self._wrong, self._rest = "unreadable answer", b""
            return
        *lines, self._rest = (self._rest + data if self._rest else data).split(b"\n")
        for line in lines:
            if line.startswith(b"data:"):
                self._event(at, line[5:].strip())
        if len(self._rest) > LONGEST_LINE:
            self._wrong, self._rest = "unreadable event", b""

    def outcome(self) -> Outcome:
        """Measured, once it has ended."""
        lateness = max(0.0, self.sent - self.due)
        failure = self.failure or (f"http {self.status}" if self.status != 200 else "")
        if not failure:
            failure = self._stream_failure() if self.streaming else self._read_whole()
        if failure:
            return Outcome(self.due, self.counted, lateness, failure)
        tokens = _count(self._usage, "completion_tokens")
        times = self._content_at
        return Outcome(
            due=self.due,
            counted=self.counted,
            lateness=lateness,
            failure="",
            ttft=times[0] - self.due if times else None,
            e2e=self.ended - self.due,
            tpot=(times[-1] - times[0]) / (tokens - 1) if times and tokens > 1 else None,
            gaps=tuple(later - earlier for earlier, later in pairwise(times)),
            output_tokens=tokens,
            prompt_tokens=_count(self._usage, "prompt_tokens"),
        )

    def _event(self, at: float, data: bytes) -> None:
        if data == b"[DONE]":
            self._done = True
            return
        try:
            event = from_json(data)
            if event.get("error") is not None:
                self._wrong = self._wrong or "error in a 200"
                return
            self._usage = event.get("usage") or self._usage
            for choice in event.get("choices") or ():
                if choice.get("finish_reason"):
                    self._finished = True
                if _content(choice):
                    self._content_at.append(at)
        except (ValueError, AttributeError, TypeError):  # no JSON, or not the shape of an event
            self._wrong = self._wrong or "unreadable event"

    def _stream_failure(self) -> str:
        if self._wrong:
            return self._wrong
        if not self._finished:
            return "no finish_reason"
        if not self._done:
            return "no [DONE]"
        return "" if self._content_at else "no content"

    def _read_whole(self) -> str:
        """Why an answer in one piece is none; its usage where it is one."""
        if self._wrong:
            return self._wrong
        try:
            body = json.loads(self._rest)
            if isinstance(body, dict) and body.get("error"):
                return "error in a 200"
            finished = bool(body["choices"]) and all(choice["finish_reason"] for choice in body["choices"])
        except (ValueError, KeyError, TypeError):
            return "unreadable answer"
        self._usage = body.get("usage") or {}
        return "" if finished else "no finish_reason"


def _content(choice: dict[str, Any]) -> bool:
    """Chat deltas and completion texts; an empty string is no token."""
    delta = choice.get("delta") or {}
    return bool(
        delta.get("content")
        or delta.get("reasoning")  # vLLM's name since it left reasoning_content
        or delta.get("reasoning_content")
        or choice.get("text")
    )


def _count(usage: Any, name: str) -> int:
    """A count of `usage`; 0 where it says none, as where a server sends none at all."""
    found = usage.get(name) if isinstance(usage, dict) else None
    return found if isinstance(found, int) else 0
