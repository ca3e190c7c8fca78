"""What a client is told where its request is not answered, in the shape of OpenAI's API. Pure.

Shape and codes: openai 1.x, src/openai/types/shared/error_object.py; https://platform.openai.com/docs/guides/error-codes
"""

from __future__ import annotations

import json
from dataclasses import dataclass


@dataclass(frozen=True)
class Refusal:
    """An answer that refuses. `retry_after`: seconds."""

    status: int
    message: str
    type: str
    code: str | None
    retry_after: int | None = None

    @property
    def body(self) -> bytes:
        error = {"message": self.message, "type": self.type, "param": None, "code": self.code}
        return json.dumps({"error": error}).encode()

    @property
    def event(self) -> bytes:
        """For a stream whose status is sent: an error event, and the stream's end, as vLLM writes both."""
        return b"data: " + self.body + b"\n\ndata: [DONE]\n\n"


def invalid(status: int, message: str, code: str | None = None) -> Refusal:
    """The request itself is wrong."""
    return Refusal(status, message, "invalid_request_error", code)


def full(model: str, why: str, seconds: int | None, unknown: int) -> Refusal:
    """No room to hold one more."""
    return Refusal(
        429,
        f"The model `{model}` is starting, and {why}: {_left(seconds)}",
        "requests",
        "rate_limit_exceeded",
        seconds or unknown,
    )


def late(model: str, held: float, seconds: int | None, unknown: int) -> Refusal:
    """It was held as long as it may be."""
    return Refusal(
        503,
        f"The model `{model}` did not become ready within {held:.0f} s: {_left(seconds)}",
        "server_error",
        "model_not_ready",
        seconds or unknown,
    )


def gone(model: str) -> Refusal:
    """There is nothing to wake."""
    return Refusal(
        503, f"The model `{model}` is not deployed any more.", "server_error", "model_not_ready", None
    )


def cut(model: str) -> Refusal:
    """The pod that had the request ended before it answered: it may have been generated, and is not sent again."""
    return Refusal(
        502,
        f"The connection to the model `{model}` ended before its answer began. The request was not sent again.",
        "server_error",
        "upstream_error",
        None,
    )


def passed_on(model: str, status: int, body: bytes) -> Refusal:
    """vLLM's own error, for an answer whose status is sent; one in another shape is told as upstream_error."""
    try:
        error = json.loads(body)["error"]
        message, kind = str(error["message"]), str(error.get("type") or "server_error")
        code = error.get("code")
    except (ValueError, KeyError, TypeError, AttributeError):
        message = f"The model `{model}` answered with status {status}."
        return Refusal(status, message, "server_error", "upstream_error")
    return Refusal(status, message, kind, None if code is None else str(code))


def _left(seconds: int | None) -> str:
    return (
        f"about {seconds} s are left, by its last starts." if seconds else "how long it takes is not known."
    )
