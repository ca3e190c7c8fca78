"""What came back of one request: timestamps taken as bytes arrived, read afterwards. Pure.

Rules (docs/measuring.md): latency counts from the time a request was DUE; the first token is the first
chunk with content, never the role chunk; tokens come from `usage`; success needs a finish_reason, [DONE]
and no error event, whatever the status says.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from pydantic_core import from_json  # a few times as fast as json, and here already


@dataclass
class Trace:
    """Raw evidence of one request. Times in seconds on one clock; `chunks` as the socket gave them."""

    due: float
    counted: bool
    sent: float = 0.0
    ended: float = 0.0
    status: int = 0
    failure: str = ""
    streaming: bool = True
    chunks: list[tuple[float, bytes]] = field(default_factory=list)


@dataclass(frozen=True)
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


def read(trace: Trace) -> Outcome:
    """Measure one trace."""
    base: dict[str, Any] = {
        "due": trace.due,
        "counted": trace.counted,
        "lateness": max(0.0, trace.sent - trace.due),
    }
    if trace.failure:
        return Outcome(**base, failure=trace.failure)
    if trace.status != 200:
        return Outcome(**base, failure=f"http {trace.status}")
    return _stream(trace, base) if trace.streaming else _whole(trace, base)


def _whole(trace: Trace, base: dict[str, Any]) -> Outcome:
    try:
        body = json.loads(b"".join(chunk for _, chunk in trace.chunks))
        finished = bool(body["choices"]) and all(choice["finish_reason"] for choice in body["choices"])
    except (ValueError, KeyError, TypeError):
        return Outcome(**base, failure="unreadable answer")
    if not finished:
        return Outcome(**base, failure="no finish_reason")
    usage = body.get("usage") or {}
    return Outcome(
        **base,
        failure="",
        e2e=trace.ended - trace.due,
        output_tokens=int(usage.get("completion_tokens", 0)),
        prompt_tokens=int(usage.get("prompt_tokens", 0)),
    )


def _stream(trace: Trace, base: dict[str, Any]) -> Outcome:
    content_at: list[float] = []
    usage: dict[str, Any] = {}
    finished = done = False
    for at, line in _lines(trace.chunks):
        if not line.startswith(b"data:"):
            continue
        data = line[5:].strip()
        if data == b"[DONE]":
            done = True
            continue
        try:
            event = from_json(data)
        except ValueError:
            return Outcome(**base, failure="unreadable event")
        if not isinstance(event, dict):
            return Outcome(**base, failure="unreadable event")
        if "error" in event:
            return Outcome(**base, failure="error in a 200")
        usage = event.get("usage") or usage
        for choice in event.get("choices") or ():
            finished = finished or bool(choice.get("finish_reason"))
            if _content(choice):
                content_at.append(at)
    if not finished or not done:
        return Outcome(**base, failure="no finish_reason" if not finished else "no [DONE]")
    if not content_at:
        return Outcome(**base, failure="no content")
    tokens = int(usage.get("completion_tokens", 0))
    first, last = content_at[0], content_at[-1]
    return Outcome(
        **base,
        failure="",
        ttft=first - trace.due,
        e2e=trace.ended - trace.due,
        tpot=(last - first) / (tokens - 1) if tokens > 1 else None,
        gaps=tuple(later - earlier for earlier, later in pairwise(content_at)),
        output_tokens=tokens,
        prompt_tokens=int(usage.get("prompt_tokens", 0)),
    )


def _content(choice: dict[str, Any]) -> bool:
    """Chat deltas and completion texts; an empty string is no token."""
    delta = choice.get("delta") or {}
    return bool(
        delta.get("content")
        or delta.get("reasoning")  # vLLM's name since it left reasoning_content
        or delta.get("reasoning_content")
        or choice.get("text")
    )


def _lines(chunks: list[tuple[float, bytes]]) -> list[tuple[float, bytes]]:
    """Lines with the time their last byte arrived; several may come in one chunk, or one in several."""
    lines, rest = [], b""
    for at, chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        lines += [(at, line) for line in whole if line.strip()]
    return lines
