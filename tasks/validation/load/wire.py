"""Parse the answer to one request into times, token counts or a failure. Pure.

docs/measuring.md has the rules: latency counts from when the request was due; a role chunk is no token; tokens are counted by
`usage`; success needs a finish_reason, [DONE] and no error event, whatever the status.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from tasks.records.questions import GENERATING, NoAnswer, Route, read_answer

try:
    # a few times as fast as json, and there wherever pydantic is: in Slipway and in the serving image
    from pydantic_core import from_json
except ImportError:
    from json import loads as from_json  # type: ignore[assignment]

# Bytes of one line of a stream, and of an answer in one piece: vLLM sends nothing longer.
LONGEST_LINE = 4 * 2**20
LONGEST_BODY = 64 * 2**20
LONGEST_REFUSAL = 16 * 2**10
LONGEST_MESSAGE = 300


@dataclass(frozen=True, slots=True)
class Outcome:
    """One request, measured. Seconds; None where the request failed before there was a figure.

    `failure` is its kind, "" for success; `message` what the server said about it, at most LONGEST_MESSAGE characters.
    """

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
    message: str = ""


class Reading:
    """One request from when it is due to its end.

    The connection sets `sent`, `status`, `ended` and a `failure` of its own, and feeds the body. Until the request ends a
    time is kept for each token.
    """

    __slots__ = (
        "_done",
        "_finished",
        "_first_token",
        "_last_token",
        "_message",
        "_rest",
        "_text_at",
        "_textless_at",
        "_usage",
        "_wrong",
        "counted",
        "due",
        "ended",
        "failure",
        "route",
        "sent",
        "status",
        "streaming",
    )  # fmt: skip

    def __init__(
        self, due: float, *, counted: bool, streaming: bool = True, route: Route = "completions"
    ) -> None:
        self.due, self.counted, self.streaming, self.route = due, counted, streaming, route
        self.sent = self.ended = 0.0
        self.status = 0
        self.failure = ""
        self._wrong = ""  # the kind of failure the body shows
        self._message = ""  # the server's words with it
        self._rest = b""
        self._text_at: list[float] = []
        self._textless_at: list[float] = []  # of tokens before the first text
        self._first_token = self._last_token = 0.0
        self._usage: dict[str, Any] = {}
        self._finished = self._done = False

    def feed(self, at: float, data: bytes) -> None:
        """Take bytes of the body that arrived at `at`: a line has the time of its last byte."""
        if self.status != 200:
            self._rest = (self._rest + data)[:LONGEST_REFUSAL]
            return
        if self._wrong:
            return
        if not self.streaming:
            self._rest += data
            if len(self._rest) > LONGEST_BODY:
                self._fail("unreadable answer", self._rest[:LONGEST_REFUSAL])
                self._rest = b""
            return
        *lines, self._rest = (self._rest + data if self._rest else data).split(b"\n")
        for line in lines:
            if line.startswith(b"data:"):
                self._event(at, line[5:].strip())
            elif (
                not self._message
                and line.strip()
                and not line.startswith((b":", b"event:", b"id:", b"retry:"))
            ):
                self._message = words(line[:LONGEST_REFUSAL])  # no event stream: a proxy's page
        if len(self._rest) > LONGEST_LINE:
            self._fail("unreadable event", self._rest[:LONGEST_REFUSAL])
            self._rest = b""

    def outcome(self) -> Outcome:
        """The figures of a request that has ended."""
        lateness = max(0.0, self.sent - self.due)
        failure = self.failure or (f"http {self.status}" if self.status != 200 else "")
        if not failure:
            failure = self._stream_failure() if self.streaming else self._read_whole()
        if failure:
            message = self._message or (words(self._rest) if self.status not in (0, 200) else "")
            return Outcome(self.due, self.counted, lateness, failure, message=message)
        tokens = _count(self._usage, "completion_tokens")
        # an answer without any text, such as one that is all end-of-text tokens, is timed by its tokens
        times = self._text_at or self._textless_at
        return Outcome(
            due=self.due,
            counted=self.counted,
            lateness=lateness,
            failure="",
            ttft=times[0] - self.due if times else None,
            e2e=self.ended - self.due,
            tpot=(self._last_token - self._first_token) / (tokens - 1) if times and tokens > 1 else None,
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
                self._fail("error in a 200", data)
                return
            self._usage = event.get("usage") or self._usage
            for choice in event.get("choices") or ():
                if choice.get("finish_reason"):
                    self._finished = True
                self._token(at, choice)
        except (ValueError, AttributeError, TypeError):  # no JSON, or not the shape of an event
            self._fail("unreadable event", data)

    def _token(self, at: float, choice: dict[str, Any]) -> None:
        """Note the time of a chunk of tokens. Special tokens have no text, and take their time all the same."""
        delta = choice.get("delta") or {}
        text = (
            delta.get("content")
            or delta.get("reasoning")  # vLLM's name since it left reasoning_content
            or delta.get("reasoning_content")
            or choice.get("text")
        )
        if text:
            self._text_at.append(at)
            self._textless_at = []
        elif "role" in delta:
            return  # vLLM sends the role by itself, before or with the first token
        elif not self._text_at:
            self._textless_at.append(at)
        self._first_token = self._first_token or at
        self._last_token = at

    def _fail(self, kind: str, body: bytes) -> None:
        if not self._wrong:
            self._wrong, self._message = kind, words(body)

    def _stream_failure(self) -> str:
        if self._wrong:
            return self._wrong
        if not self._finished:
            return "no finish_reason"
        if not self._done:
            return "no [DONE]"
        return "" if self._text_at or _count(self._usage, "completion_tokens") else "no content"

    def _read_whole(self) -> str:
        """The kind of failure an answer in one piece shows; its usage where it is an answer."""
        if self._wrong:
            return self._wrong
        try:
            body = from_json(self._rest)
            if isinstance(body, dict) and body.get("error"):
                self._message = words(self._rest)
                return "error in a 200"
            self._usage = body.get("usage") or {}
            if self.route not in GENERATING:
                read_answer(self.route, body)
                return ""
            finished = bool(body["choices"]) and all(choice["finish_reason"] for choice in body["choices"])
        except NoAnswer as wrong:
            self._message = words(self._rest[:LONGEST_REFUSAL])
            return str(wrong)
        except (ValueError, KeyError, TypeError, AttributeError):
            self._message = words(self._rest[:LONGEST_REFUSAL])
            return "unreadable answer"
        return "" if finished else "no finish_reason"


def words(body: bytes) -> str:
    """What a refusal says: OpenAI's error.message, FastAPI's detail, else the text; on one line, cut."""
    text = body.decode("utf-8", "replace")
    try:
        message = json.loads(text)
    except ValueError:
        message = None
    if isinstance(message, dict):
        message = message.get("error") or message.get("detail") or message.get("message") or message
    if isinstance(message, dict):
        message = message.get("message") or message
    if message is not None:
        text = message if isinstance(message, str) else json.dumps(message)
    line = " ".join(text.split())
    return line if len(line) <= LONGEST_MESSAGE else f"{line[: LONGEST_MESSAGE - 1]}…"


def _count(usage: Any, name: str) -> int:
    """A count of `usage`; 0 where it says none, as where a server sends none at all."""
    count = usage.get(name) if isinstance(usage, dict) else None
    return count if isinstance(count, int) else 0
