"""Parse and check request bodies as vLLM does, and word its error answers."""

from __future__ import annotations

import json
from typing import Annotated, Any, Final, TypeVar

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError

MAX_N: Final = 16_384  # VLLM_MAX_N_SEQUENCES
MAX_REPORTED_ERRORS: Final = 10

Model = TypeVar("Model", bound=BaseModel)


class Refusal(Exception):
    """An error answer: HTTP status and OpenAI's `error` object."""

    def __init__(
        self, message: str, *, kind: str = "BadRequestError", code: int = 400, param: str | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.document = {"error": {"message": message, "type": kind, "param": param, "code": code}}

    @property
    def body(self) -> bytes:
        return compact(self.document)


def compact(document: Any) -> bytes:
    """Serialize JSON as Starlette's JSONResponse does."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def invalid(message: str, parameter: str, value: Any) -> Refusal:
    """A refusal as of vLLM's VLLMValidationError, whose text ends in the parameter and its value."""
    suffix = f" (parameter={parameter}, value={value})" if value is not None else f" (parameter={parameter})"
    return Refusal(message + suffix, param=parameter)


def busy(message: str) -> Refusal:
    return Refusal(message, kind="Service Unavailable", code=503)


def internal(message: str) -> Refusal:
    return Refusal(message, kind="InternalServerError", code=500)


class StreamOptions(BaseModel):
    include_usage: bool | None = True
    continuous_usage_stats: bool | None = False


class Request(BaseModel):
    """Fields that chat and text completion share. Unknown fields are accepted, as in vLLM."""

    model_config = ConfigDict(extra="allow")

    model: str | None = None
    n: int | None = 1
    seed: Annotated[int, Field(ge=-(2**63), le=2**63 - 1)] | None = None
    stop: str | list[str] | None = None
    stop_token_ids: list[int] | None = None
    include_stop_str_in_output: bool = False
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    temperature: float | None = None
    top_p: float | None = None
    ignore_eos: bool = False
    min_tokens: int = 0

    @property
    def asked_tokens(self) -> int | None:
        raise NotImplementedError

    def check(self, max_model_len: int) -> None:
        """Apply vLLM's own checks, after the model's name was found. Raises Refusal."""
        asked = self.asked_tokens
        if self.stream_options is not None and not self.stream:
            raise invalid("Stream options can only be defined when `stream=True`.", "stream_options", None)
        if asked is not None and asked > max_model_len:
            message = f"max_tokens={asked} cannot be greater than max_model_len={max_model_len}. Please request fewer output tokens."
            raise invalid(message, "max_tokens", asked)
        if self.n is not None and not 1 <= self.n <= MAX_N:
            word = (
                f"at least 1, got {self.n}."
                if self.n < 1
                else f"at most {MAX_N}, got {self.n}. To increase this limit, set the VLLM_MAX_N_SEQUENCES environment variable."
            )
            raise Refusal(f"n must be {word}")
        if self.temperature is not None and self.temperature < 0:
            raise invalid(
                f"temperature must be non-negative, got {self.temperature}.", "temperature", self.temperature
            )
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise invalid(f"top_p must be in (0, 1], got {self.top_p}.", "top_p", self.top_p)
        if asked is not None and asked < 1:
            raise invalid(f"max_tokens must be at least 1, got {asked}.", "max_tokens", asked)
        if self.min_tokens < 0:
            raise Refusal(f"min_tokens must be greater than or equal to 0, got {self.min_tokens}.")
        if asked is not None and self.min_tokens > asked:
            raise Refusal(
                f"min_tokens must be less than or equal to max_tokens={asked}, got {self.min_tokens}."
            )
        if any(not stop for stop in self.stops):
            raise Refusal("stop cannot contain an empty string.")
        if self.temperature == 0 and (self.n or 1) > 1:
            raise Refusal(f"n must be 1 when using greedy sampling, got {self.n}.")

    @property
    def stops(self) -> tuple[str, ...]:
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())


class ChatRequest(Request):
    messages: list[dict[str, Any]]
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    logprobs: bool | None = False
    top_logprobs: int | None = 0

    @property
    def asked_tokens(self) -> int | None:
        return self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens


class CompletionRequest(Request):
    prompt: str | list[int] | list[list[int]] | list[str]
    max_tokens: int | None = 16

    @property
    def asked_tokens(self) -> int | None:
        return self.max_tokens


class TokenizeRequest(BaseModel):
    model: str | None = None
    prompt: str | None = None
    messages: list[dict[str, Any]] | None = None
    add_generation_prompt: bool = True
    add_special_tokens: bool | None = None
    return_token_strs: bool | None = False


class DetokenizeRequest(BaseModel):
    model: str | None = None
    tokens: list[int]


async def parse(request: web.BaseRequest, kind: type[Model]) -> Model:
    """Parse the body as `kind`. Raises Refusal 400 with FastAPI's and pydantic's reasons in vLLM's envelope."""
    raw = await request.read()
    if raw and request.content_type != "application/json":
        text = "1 validation error:\n  Unsupported Media Type: Only 'application/json' is allowed"
        raise Refusal(text, kind="Bad Request")
    if not raw:
        raise _validation([{"type": "missing", "loc": "body", "msg": "Field required", "input": "None"}])
    try:
        document = json.loads(raw)
    except json.JSONDecodeError as error:
        raise _validation([{
            "type": "json_invalid", "loc": f"body.{error.pos}", "msg": "JSON decode error",
            "input": "<dict of 0 items>", "ctx": {"error": error.msg},
        }]) from error  # fmt: skip
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        raise _validation([
            {"type": e["type"], "loc": ".".join(map(str, ("body", *e["loc"]))), "msg": e["msg"], "input": _summary(e["input"])}
            for e in error.errors(include_url=False)
        ]) from error  # fmt: skip


def _validation(errors: list[dict[str, Any]]) -> Refusal:
    noun = "error" if len(errors) == 1 else "errors"
    lines = "".join(f"\n  {error}" for error in errors[:MAX_REPORTED_ERRORS])
    return Refusal(f"{len(errors)} validation {noun}:{lines}", kind="Bad Request", param=errors[0]["loc"])


def _summary(value: Any) -> Any:
    if isinstance(value, dict | list):
        return f"<{type(value).__name__} of {len(value)} items>"
    text = str(value)
    return text if len(text) <= 200 else text[:200] + "...[truncated]"
