"""Schedule sequences: a FIFO queue before a bounded batch, and token times that do not drift.

Token i of a sequence is due at `scheduled + first + i * inter`, whatever happened to token i - 1. A stream that wakes up
late hands out everything that is due in one step, as vLLM coalesces chunks under load.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from slipway_sandbox.images.vllm.metrics import EngineMetrics
from slipway_sandbox.images.vllm.text import Text
from slipway_sandbox.images.vllm.writing import Sampling, Step, Writer
from slipway_sandbox.settings import EngineTiming

PREFILL_TOKENS_PER_UNIT: Final = 8192  # a prompt of this many tokens doubles the time to first token
BATCH_PER_UNIT: Final = 512  # so does a batch of this many sequences
MAX_CACHED_BLOCKS: Final = 65_536  # bounds the prefix cache's own memory (about 8 MB)


class QueueOverflow(Exception):
    """`--max-num-queued-reqs` or `--max-num-queued-tokens` would be exceeded; the message goes to the client."""

    def __init__(self) -> None:
        super().__init__(
            "The engine is currently busy and cannot accept new requests. Please try again later or on a different "
            "instance."
        )


class EngineStopped(Exception):
    """The engine is shutting down; a real API server answers 500."""

    def __init__(self) -> None:
        super().__init__("cannot schedule new futures after shutdown")


@dataclass(frozen=True)
class Limits:
    """The command line's limits, in tokens, sequences and blocks of `block_size` tokens."""

    max_num_seqs: int
    kv_tokens: int
    block_size: int
    prefix_caching: bool
    max_num_queued_reqs: int | None
    max_num_queued_tokens: int | None


@dataclass(slots=True)
class _Sequence:
    prompt_tokens: int
    reserved_blocks: int
    tokens: int = 0
    prefilled: bool = False


class Engine:
    """`generate` yields the steps of one sequence. Times are `clock`'s, in seconds."""

    def __init__(
        self,
        text: Text,
        timing: EngineTiming,
        limits: Limits,
        metrics: EngineMetrics,
        clock: Callable[[], float],
    ) -> None:
        self.text, self.timing, self.limits, self.metrics = text, timing, limits, metrics
        self._clock = clock
        self._batch: dict[int, _Sequence] = {}
        self._waiting: deque[tuple[_Sequence, asyncio.Future[None]]] = deque()
        self._free_blocks = limits.kv_tokens // limits.block_size
        self._all_blocks = max(self._free_blocks, 1)
        self._prefixes: OrderedDict[int, None] = OrderedDict()
        self._busy_since: float | None = None
        self._busy_seconds = 0.0
        self._idle = asyncio.Event()
        self._idle.set()
        self._never = asyncio.Event()
        self.stopping = False
        self._frozen = False

    @property
    def running(self) -> int:
        return len(self._batch)

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def kv_usage(self) -> float:
        """The share of KV blocks that hold tokens, 0 to 1."""
        size = self.limits.block_size
        return sum(-(-(s.prompt_tokens + s.tokens) // size) for s in self._batch.values()) / self._all_blocks

    def busy_seconds(self) -> float:
        """Total seconds with at least one running sequence."""
        now = self._clock()
        return self._busy_seconds + (now - self._busy_since if self._busy_since is not None else 0.0)

    def check_admission(self, sequences: int) -> None:
        """Check the queue limits, which count waiting and running. Raises EngineStopped or QueueOverflow."""
        if self.stopping:
            raise EngineStopped
        limits = self.limits
        unfinished = self.running + self.waiting
        if limits.max_num_queued_reqs is not None and unfinished + sequences > limits.max_num_queued_reqs:
            self.metrics.count("admission_rejections", label="max_num_queued_reqs")
            raise QueueOverflow
        if limits.max_num_queued_tokens is not None:
            prefilling = [s for s in self._batch.values() if not s.prefilled] + [s for s, _ in self._waiting]
            if sum(s.prompt_tokens for s in prefilling) >= limits.max_num_queued_tokens:
                self.metrics.count("admission_rejections", label="max_num_queued_tokens")
                raise QueueOverflow

    def refresh_gauges(self) -> None:
        gauges = self.metrics.gauges
        gauges["num_requests_running", ""] = self.running
        gauges["num_requests_waiting", ""] = self.waiting
        gauges["num_requests_waiting_by_reason", "capacity"] = self.waiting
        gauges["kv_cache_usage_perc", ""] = self.kv_usage()

    async def generate(
        self,
        prompt: Sequence[int],
        sampling: Sampling,
        *,
        choice: int = 0,
        n: int = 1,
        extra_first_seconds: float = 0.0,
    ) -> AsyncGenerator[Step, None]:
        """Yield the steps of one sequence. Cancelling it frees its place in the batch."""
        arrived = self._clock()
        blocks = -(-(len(prompt) + sampling.max_tokens) // self.limits.block_size)
        sequence = _Sequence(len(prompt), blocks)
        await self._admit(sequence)
        try:
            scheduled = self._clock()
            cached = self._lookup_prefix(prompt)
            first = self._first_token_seconds(len(prompt) - cached) + extra_first_seconds
            writer = Writer(self.text, prompt, sampling, choice)
            due, last, started = scheduled + first, 0.0, False
            while True:
                await self._sleep_until(due)
                now = self._clock()
                count = max(1, 1 + int((now - due) / self.timing.inter_token_seconds))
                step = writer.take(count)
                due += step.tokens * self.timing.inter_token_seconds
                sequence.tokens += step.tokens
                if not started:
                    started, sequence.prefilled, last = True, True, now
                    first_at = now
                    self._count_prefill(len(prompt), cached, now - arrived, step.tokens)
                else:
                    self._count_decode(step.tokens, now - last)
                    last = now
                if step.finish_reason:
                    self._count_finished(
                        sequence, sampling, n, step.finish_reason, arrived, scheduled, first_at, now
                    )
                    self._release(sequence)
                    yield step
                    return
                yield step
        finally:
            self._release(sequence)

    async def encode(self, prompt: Sequence[int], *, extra_seconds: float = 0.0) -> None:
        """One pooled text: a place in the batch for as long as a prompt's first token takes. Cancelling it frees the place."""
        arrived = self._clock()
        sequence = _Sequence(
            len(prompt), -(-len(prompt) // self.limits.block_size) if self.limits.kv_tokens else 0
        )
        await self._admit(sequence)
        try:
            scheduled = self._clock()
            await self._sleep_until(scheduled + self._first_token_seconds(len(prompt)) + extra_seconds)
            self._count_pooled(sequence, arrived, scheduled, self._clock())
        finally:
            self._release(sequence)

    async def hang(self) -> None:
        """Never return: a stalled stream, until its client gives up."""
        await self._never.wait()

    async def drain(self, timeout: float) -> bool:
        """Refuse new requests and let the others finish; False if some had not after `timeout` seconds."""
        self.stopping = True
        try:
            await asyncio.wait_for(self._idle.wait(), timeout)
        except TimeoutError:
            return False
        return True

    def freeze(self) -> None:
        """Stop all streams without another token or an end."""
        self.stopping = self._frozen = True

    async def _sleep_until(self, due: float) -> None:
        await asyncio.sleep(max(due - self._clock(), 0.0))
        if self._frozen:
            await self.hang()

    def _first_token_seconds(self, tokens: int) -> float:
        growth = tokens / PREFILL_TOKENS_PER_UNIT + (self.running - 1) / BATCH_PER_UNIT
        return self.timing.first_token_seconds * (1.0 + growth)

    async def _admit(self, sequence: _Sequence) -> None:
        self._idle.clear()
        if not self._waiting and self._fits(sequence):
            self._start(sequence)
            return
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (sequence, place)
        self._waiting.append(entry)
        try:
            await place
        except asyncio.CancelledError:
            if id(sequence) in self._batch:
                self._release(sequence)
            else:
                self._waiting.remove(entry)
                self._note_idle()
            raise

    def _fits(self, sequence: _Sequence) -> bool:
        return self.running < self.limits.max_num_seqs and sequence.reserved_blocks <= self._free_blocks

    def _start(self, sequence: _Sequence) -> None:
        if not self._batch:
            self._busy_since = self._clock()
        self._batch[id(sequence)] = sequence
        self._free_blocks -= sequence.reserved_blocks

    def _release(self, sequence: _Sequence) -> None:
        if self._batch.pop(id(sequence), None) is None:
            return
        self._free_blocks += sequence.reserved_blocks
        while self._waiting and self._fits(self._waiting[0][0]):
            waiter, place = self._waiting.popleft()
            if place.cancelled():
                continue
            self._start(waiter)
            place.set_result(None)
        if not self._batch and self._busy_since is not None:
            self._busy_seconds += self._clock() - self._busy_since
            self._busy_since = None
        self._note_idle()

    def _note_idle(self) -> None:
        if not self._batch and not self._waiting:
            self._idle.set()

    def _lookup_prefix(self, prompt: Sequence[int]) -> int:
        """Number of prompt tokens cached in full blocks; the last token is always computed."""
        if not self.limits.prefix_caching:
            return 0
        size, chain, hits, matching = self.limits.block_size, 0, 0, True
        for start in range(0, len(prompt) - size + 1, size):
            chain = hash((chain, tuple(prompt[start : start + size])))
            matching = matching and chain in self._prefixes and start + size < len(prompt)
            hits += size if matching else 0
            self._prefixes[chain] = None
            self._prefixes.move_to_end(chain)
        while len(self._prefixes) > min(self._all_blocks, MAX_CACHED_BLOCKS):
            self._prefixes.popitem(last=False)
        return hits

    def _count_prefill(self, prompt: int, cached: int, seconds: float, tokens: int) -> None:
        metrics = self.metrics
        metrics.count("prompt_tokens", prompt)
        metrics.count("prompt_tokens_by_source", prompt - cached, "local_compute")
        metrics.count("prompt_tokens_by_source", cached, "local_cache_hit")
        metrics.count("prompt_tokens_cached", cached)
        metrics.count("prompt_tokens_cached_by_source", cached, "device")
        if self.limits.prefix_caching:
            metrics.count("prefix_cache_queries", prompt)
            metrics.count("prefix_cache_hits", cached)
        metrics.count("generation_tokens", tokens)
        metrics.observe("time_to_first_token_seconds", seconds)
        metrics.observe("request_prefill_kv_computed_tokens", prompt - cached)
        metrics.observe("iteration_tokens_total", prompt - cached + tokens)

    def _count_decode(self, tokens: int, gap: float) -> None:
        self.metrics.count("generation_tokens", tokens)
        self.metrics.observe("inter_token_latency_seconds", gap / tokens, tokens)
        self.metrics.observe("iteration_tokens_total", 1, tokens)

    def _count_finished(
        self,
        sequence: _Sequence,
        sampling: Sampling,
        n: int,
        reason: str,
        arrived: float,
        scheduled: float,
        first_at: float,
        now: float,
    ) -> None:
        observe = self.metrics.observe
        self.metrics.count("request_success", label=reason)
        observe("request_prompt_tokens", sequence.prompt_tokens)
        observe("request_generation_tokens", sequence.tokens)
        observe("request_max_num_generation_tokens", sequence.tokens)
        observe("request_params_n", n)
        observe("request_params_max_tokens", sampling.max_tokens)
        observe("request_num_preemptions", 0)
        observe("e2e_request_latency_seconds", now - arrived)
        observe("request_queue_time_seconds", scheduled - arrived)
        observe("request_inference_time_seconds", now - scheduled)
        observe("request_prefill_time_seconds", first_at - scheduled)
        observe("request_decode_time_seconds", now - first_at)
        gaps = sequence.tokens - 1
        observe("request_time_per_output_token_seconds", (now - first_at) / gaps if gaps else 0.0)

    def _count_pooled(self, sequence: _Sequence, arrived: float, scheduled: float, now: float) -> None:
        """As vLLM counts a pooled text: a success that ended by itself, with no tokens generated."""
        tokens, observe = sequence.prompt_tokens, self.metrics.observe
        self.metrics.count("prompt_tokens", tokens)
        self.metrics.count("prompt_tokens_by_source", tokens, "local_compute")
        self.metrics.count("request_success", label="stop")
        observe("time_to_first_token_seconds", now - arrived)
        observe("e2e_request_latency_seconds", now - arrived)
        observe("request_queue_time_seconds", scheduled - arrived)
        for name in ("request_inference_time_seconds", "request_prefill_time_seconds"):
            observe(name, now - scheduled)
        for name in ("request_decode_time_seconds", "request_time_per_output_token_seconds"):
            observe(name, 0.0)
        for name in ("request_generation_tokens", "request_max_num_generation_tokens"):
            observe(name, 0)
        observe("request_prompt_tokens", tokens)
        observe("request_prefill_kv_computed_tokens", tokens)
        observe("iteration_tokens_total", tokens)
        observe("request_params_n", 1)
        observe("request_num_preemptions", 0)
