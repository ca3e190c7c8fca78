"""Answer chat and text completions, as one JSON document or as server-sent events.

Key order and separators are those of the golden transcripts (vLLM 0.32.0).
"""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any, Final

from aiohttp import web

from slipway_sandbox.images.vllm.engine import Engine
from slipway_sandbox.images.vllm.faulting import EngineFaults
from slipway_sandbox.images.vllm.logprobs import logprobs_of
from slipway_sandbox.images.vllm.parsing import Parsers, message
from slipway_sandbox.images.vllm.protocol import (
    ChatRequest,
    CompletionRequest,
    Refusal,
    Request,
    compact,
    internal,
    invalid,
)
from slipway_sandbox.images.vllm.text import TemplateRefused
from slipway_sandbox.images.vllm.writing import Sampling, Step

DONE: Final = b"data: [DONE]\n\n"
ENGINE_DEAD: Final = "EngineCore encountered an issue. See stack trace (above) for the root cause."


@dataclass(frozen=True)
class Job:
    """One accepted request: its prompts as tokens and the parameters of its answer."""

    chat: bool
    identity: str
    model: str
    created: int
    prompts: tuple[tuple[int, ...], ...]
    sampling: Sampling
    n: int
    include_usage: bool
    continuous_usage: bool
    extra_first_seconds: float
    fault: str | None  # engine-stall or engine-error-in-200
    reasons: bool = False
    call: dict[str, Any] | None = None
    logprobs: bool = False
    top_logprobs: bool = False
    lower_logprobs: float = 0.0  # by so many nats

    @property
    def choices(self) -> int:
        return len(self.prompts) * self.n

    @property
    def prompt_tokens(self) -> int:
        return sum(map(len, self.prompts))


def usage(prompt: int, completion: int, details: Sequence[str] = ()) -> dict[str, Any]:
    counts: dict[str, Any] = {
        "prompt_tokens": prompt,
        "total_tokens": prompt + completion,
        "completion_tokens": completion,
    }
    return counts | dict.fromkeys(details)


class Completions:
    """Handles `/v1/chat/completions` and `/v1/completions`."""

    def __init__(
        self,
        engine: Engine,
        faults: EngineFaults,
        *,
        served_names: Sequence[str],
        max_model_len: int,
        fingerprint: str,
        seed: int,
        force_usage: bool,
        parsers: Parsers | None = None,
        adapters: Mapping[str, int] | None = None,
    ) -> None:
        self._engine, self._faults = engine, faults
        self._names, self._max_model_len = tuple(served_names), max_model_len
        self._fingerprint, self._seed, self._force_usage = fingerprint, seed, force_usage
        self._parsers = parsers or Parsers()
        self._adapters = adapters or {}

    def check_model(self, name: str | None) -> None:
        """Resolve the model's name; none means the first. Raises Refusal 404 for a name that is not served."""
        if name is not None and name not in self._names and name not in self._adapters:
            raise Refusal(
                f"The model `{name}` does not exist. Valid aliases: {', '.join(self._names)}.",
                kind="NotFoundError",
                code=404,
                param="model",
            )

    def prepare(self, request: ChatRequest | CompletionRequest, request_id: str | None) -> Job:
        """Check and tokenize a request, before admission. Raises Refusal."""
        self.check_model(request.model)
        chat = isinstance(request, ChatRequest)
        prompts = (
            self._chat_prompt(request) if isinstance(request, ChatRequest) else self._prompts(request.prompt)
        )
        request.check(self._max_model_len)
        call = self._parsers.call(request) if isinstance(request, ChatRequest) else None
        options = request.stream_options
        slow = self._faults.struck("engine-slow-token")
        # without a value other tokens are chosen, with one the same tokens are less probable by so many nats
        altered = self._faults.struck("engine-altered-answers")
        sampling = self._sampling(request, max(map(len, prompts)))
        if altered and altered.value is None:
            sampling = replace(sampling, seed=sampling.seed + 1)
        if seed := self._adapters.get(request.model or ""):
            sampling = replace(sampling, seed=sampling.seed + seed)
        fault = next((f for f in ("engine-stall", "engine-error-in-200") if self._faults.struck(f)), None)
        return Job(
            chat=chat,
            identity=f"{'chatcmpl' if chat else 'cmpl'}-{request_id or secrets.token_hex(8)}",
            model=request.model or self._names[0],
            created=int(time.time()),
            prompts=prompts,
            sampling=sampling,
            n=request.n or 1,
            include_usage=self._force_usage or bool(options and options.include_usage),
            continuous_usage=bool(options and options.include_usage and options.continuous_usage_stats),
            extra_first_seconds=(slow.value or 1.0) if slow else 0.0,
            fault=fault,
            reasons=chat and self._parsers.reasoning,
            call=call,
            logprobs=isinstance(request, ChatRequest) and bool(request.logprobs),
            top_logprobs=isinstance(request, ChatRequest) and bool(request.top_logprobs),
            lower_logprobs=(altered.value or 0.0) if altered else 0.0,
        )

    def _sampling(self, request: Request, prompt_tokens: int) -> Sampling:
        room = self._max_model_len - prompt_tokens
        asked = room if request.asked_tokens is None else min(request.asked_tokens, room)
        if asked < 1:
            raise invalid(f"max_tokens must be at least 1, got {asked}.", "max_tokens", asked)
        return Sampling(
            max_tokens=asked,
            min_tokens=request.min_tokens,
            ignore_eos=request.ignore_eos,
            stop=request.stops,
            stop_token_ids=frozenset(request.stop_token_ids or ()),
            include_stop_str=request.include_stop_str_in_output,
            seed=self._seed if request.seed is None else request.seed,
        )

    def _chat_prompt(self, request: ChatRequest) -> tuple[tuple[int, ...], ...]:
        try:
            text = self._engine.text.render(request.messages)
        except TemplateRefused as error:
            raise Refusal(str(error)) from error
        return (self._encode(text, special=False),)

    def _prompts(self, prompt: str | list[int] | list[list[int]] | list[str]) -> tuple[tuple[int, ...], ...]:
        if isinstance(prompt, str):
            return (self._encode(prompt, special=True),)
        if not prompt:
            raise Refusal("You must provide at least one prompt")
        parts: list[Any] = list(prompt)
        if isinstance(parts[0], int):
            return (self._check_length(parts),)
        return tuple(
            self._encode(p, special=True) if isinstance(p, str) else self._check_length(p) for p in parts
        )

    def encode(self, text: str) -> tuple[int, ...]:
        """The tokens of a text to be pooled. Raises Refusal where it is too long."""
        return self._encode(text, special=True)

    def _encode(self, text: str, *, special: bool) -> tuple[int, ...]:
        limit = self._max_model_len
        characters = limit * self._engine.text.max_chars_per_token
        if len(text) > characters:
            message = (
                f"This model's maximum context length is {limit} tokens. However, your prompt contains {len(text)} "
                f"characters (more than {characters} characters, which is the upper bound for {limit} input tokens). "
                "Please reduce the length of the input prompt."
            )
            raise invalid(message, "input_text", len(text))
        return self._check_length(self._engine.text.encode(text, special=special)[: limit + 1])

    def _check_length(self, ids: Sequence[Any]) -> tuple[int, ...]:
        limit, count = self._max_model_len, len(ids)
        if count > limit:
            about = "at least " if count == limit + 1 else ""
            message = (
                f"This model's maximum context length is {limit} tokens. However, your prompt contains {about}{count} "
                "input tokens, which exceeds this limit even without any output tokens. Please reduce the length of "
                "the input prompt."
            )
            raise invalid(message, "input_tokens", count)
        return tuple(ids)

    async def whole(self, job: Job) -> bytes:
        """Answer in one document. Raises Refusal for a fault in the middle."""
        texts = [""] * job.choices
        ends: list[Step] = [Step("", 0)] * job.choices
        tokens, counts = 0, [0] * job.choices
        async with aclosing(self._steps(job)) as steps:
            async for index, step in steps:
                texts[index] += step.text
                tokens += step.tokens
                counts[index] += step.tokens
                if job.fault and tokens * 2 >= job.sampling.max_tokens:
                    await self._break(job.fault)
                if step.finish_reason:
                    ends[index] = step
        choices = [
            self._choice(job, i, texts[i], ends[i]) | self._logprobs(job, i, counts[i])
            for i in range(job.choices)
        ]
        tail: dict[str, Any] = dict.fromkeys(("kv_transfer_params", "ec_transfer_params", "metrics"))
        if job.chat:
            tail = dict.fromkeys(("prompt_logprobs", "prompt_token_ids", "prompt_text")) | tail
        head = {
            "id": job.identity,
            "object": "chat.completion" if job.chat else "text_completion",
            "created": job.created,
            "model": job.model,
            "choices": choices,
            "service_tier": None,
            "system_fingerprint": self._fingerprint,
            "usage": usage(job.prompt_tokens, tokens, ("prompt_tokens_details", "completion_tokens_details"))
            | _reasoning_tokens(job, tokens),
        }
        return compact(head | tail)

    def _logprobs(self, job: Job, index: int, count: int) -> dict[str, Any]:
        """`logprobs` of a choice, where they were asked for; it keeps its place among the keys."""
        if not job.logprobs:
            return {}
        return {
            "logprobs": logprobs_of(
                self._engine.text,
                job.prompts[index // job.n],
                job.sampling.seed,
                index % job.n,
                count,
                shift=job.lower_logprobs,
                listed=job.top_logprobs,
            )
        }

    @staticmethod
    def _choice(job: Job, index: int, text: str, end: Step) -> dict[str, Any]:
        finish = {
            "logprobs": None,
            "finish_reason": "tool_calls" if job.call else end.finish_reason,
            "stop_reason": end.stop_reason,
            "token_ids": None,
        }
        if not job.chat:
            nothing = dict.fromkeys(("prompt_logprobs", "prompt_token_ids", "routed_experts"))
            return {"index": index, "text": text} | finish | nothing
        made = message(text, job.call, reasons=job.reasons)
        return {"index": index, "message": made} | finish | {"routed_experts": None}

    async def stream(self, job: Job, response: web.StreamResponse) -> int:
        """Write the events of one stream with `[DONE]`; return the number of tokens."""
        writer = _EventWriter(job, self._fingerprint)
        done = [0] * job.choices
        if job.chat:
            for index in range(job.choices):
                await response.write(writer.role(index))
        async with aclosing(self._steps(job)) as steps:
            async for index, step in steps:
                done[index] += step.tokens
                await response.write(writer.step(index, step, done[index]))
                if job.fault and sum(done) * 2 >= job.sampling.max_tokens:
                    try:
                        await self._break(job.fault)
                    except Refusal as error:
                        await response.write(event(error.document) + DONE)
                        return sum(done)
        last = writer.usage(sum(done)) if job.include_usage else b""
        await response.write(last + DONE)
        return sum(done)

    async def _break(self, fault: str) -> None:
        if fault == "engine-stall":
            await self._engine.hang()
        raise internal(ENGINE_DEAD)

    async def _steps(self, job: Job) -> AsyncGenerator[tuple[int, Step], None]:
        """Yield (choice, step) of all sequences as they arrive."""
        if job.choices == 1:
            async with aclosing(self._sequence(job, 0)) as only:
                async for step in only:
                    yield 0, step
            return
        merged: asyncio.Queue[tuple[int, Step]] = asyncio.Queue(job.choices)

        async def feed(index: int) -> None:
            async with aclosing(self._sequence(job, index)) as steps:
                async for step in steps:
                    await merged.put((index, step))

        tasks = [asyncio.create_task(feed(index)) for index in range(job.choices)]
        try:
            left = job.choices
            while left:
                index, step = await merged.get()
                left -= step.finish_reason is not None
                yield index, step
        finally:
            for task in tasks:
                task.cancel()

    def _sequence(self, job: Job, index: int) -> AsyncGenerator[Step, None]:
        return self._engine.generate(
            job.prompts[index // job.n],
            job.sampling,
            choice=index % job.n,
            n=job.n,
            extra_first_seconds=job.extra_first_seconds,
        )


def _reasoning_tokens(job: Job, tokens: int) -> dict[str, Any]:
    """What a reasoning parser adds to the usage."""
    return {"completion_tokens_details": {"reasoning_tokens": tokens}} if job.reasons else {}


def event(document: Any) -> bytes:
    """Format an error event of a stream: with json.dumps' default separators, unlike all other events."""
    return b"data: " + json.dumps(document).encode() + b"\n\n"


class _EventWriter:
    """Builds the events of one stream from constant pieces, as it runs once a token."""

    def __init__(self, job: Job, fingerprint: str) -> None:
        kind = "chat.completion.chunk" if job.chat else "text_completion"
        self._head = (
            f'data: {{"id":{json.dumps(job.identity)},"object":"{kind}","created":{job.created},'
            f'"model":{json.dumps(job.model, ensure_ascii=False)},"choices":['
        )
        self._job = job
        self._text = "reasoning" if job.reasons else "content"
        self._fingerprint = f',"system_fingerprint":"{fingerprint}"'

    def role(self, index: int) -> bytes:
        return (
            f'{self._head}{{"index":{index},"delta":{{"role":"assistant","content":""}},"logprobs":null,'
            f'"finish_reason":null}}]{self._running_usage(0, index)},"prompt_token_ids":null,"prompt_text":null}}\n\n'
        ).encode()

    def step(self, index: int, step: Step, tokens: int) -> bytes:
        text = json.dumps(step.text, ensure_ascii=False)
        reason = json.dumps(step.finish_reason)
        if self._job.chat:
            why = f',"stop_reason":{json.dumps(step.stop_reason)}' if step.finish_reason else ""
            body = f'"delta":{{"{self._text}":{text}}},"logprobs":null,"finish_reason":{reason}{why},"token_ids":null'
        else:
            body = (
                f'"text":{text},"logprobs":null,"finish_reason":{reason},"stop_reason":{json.dumps(step.stop_reason)},'
                '"prompt_token_ids":null,"token_ids":null'
            )
        last = self._fingerprint if step.finish_reason and not self._job.include_usage else ""
        return f'{self._head}{{"index":{index},{body}}}]{self._running_usage(tokens, index)}{last}}}\n\n'.encode()

    def usage(self, tokens: int) -> bytes:
        counts = compact(
            usage(self._job.prompt_tokens, tokens) | _reasoning_tokens(self._job, tokens)
        ).decode()
        return f'{self._head}],"usage":{counts}{self._fingerprint}}}\n\n'.encode()

    def _running_usage(self, tokens: int, index: int) -> str:
        if not self._job.continuous_usage:
            return ""
        prompt = len(self._job.prompts[index // self._job.n])
        return f',"usage":{compact(usage(prompt, tokens, ("completion_tokens_details",))).decode()}'
