"""Show the memory sum of one GPU, line by line. Pure: a plan in, lines of text out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tasks.preflight.config import defaults_of
from tasks.preflight.kv_cache import stages
from tasks.preflight.layers import Cache
from tasks.preflight.memory import FILLED, MOST_TOKENS, Plan

GIB = 2**30
KINDS = {
    "full": "keep keys and values of every token",
    "latent": "keep one latent vector a token",
    "sliding": "keep a window of {reach:,} tokens and those in flight",
    "chunked": "keep a chunk of {reach:,} tokens and those in flight",
    "state": "keep a state, whatever the length ({reach} copies for prefix caching)",
    "cross": "keep keys and values of the encoder's {reach:,} tokens",
}


@dataclass(frozen=True)
class Line:
    """One line of the sum: what, how much, and how it comes about. A line without an amount is a heading or a note."""

    what: str
    amount: str = ""
    how: str = ""


def explained(plan: Plan) -> tuple[Line, ...]:
    """The sum for the fullest GPU, in the order vLLM makes it."""
    return (
        Line(
            f"One {plan.gpu.name} of {plan.settings.gpus}"
            if plan.settings.gpus > 1
            else f"One {plan.gpu.name}"
        ),
        *_budget(plan),
        *_weights(plan),
        *(Line(f"- {what}", _gib(size), "estimate") for what, size in plan.start),
        Line(
            "= left for the KV cache",
            _gib(plan.kv_cache),
            "--kv-cache-memory-bytes" if plan.settings.kv_cache_bytes else "",
        ),
        Line("KV cache"),
        *_cache(plan),
        *_verdict(plan),
        *(Line(f"not known here: {one}") for one in plan.unknown),
        *_filled(plan),
    )


def rendered(lines: Iterable[Line]) -> str:
    """Plain text in three columns; headings stand at the margin."""
    rows = list(lines)
    widest = max((len(row.what) for row in rows if row.amount), default=0)
    text = []
    for row in rows:
        if not row.amount:
            text.append(f"{row.what}{': ' + row.how if row.how else ''}")
            continue
        text.append(f"  {row.what:<{widest}}  {row.amount:>14}  {row.how}".rstrip())
    return "\n".join(text)


def _gib(size: int) -> str:
    return f"{size / GIB:,.2f} GiB"


def _budget(plan: Plan) -> list[Line]:
    return [
        Line("memory CUDA shows", _gib(plan.gpu.memory), "less than EC2 names: error correction and driver"),
        Line("x gpu_memory_utilization", f"{plan.settings.utilization:g}", f"= {_gib(plan.budget)}"),
    ]


def _weights(plan: Plan) -> list[Line]:
    settings, weights = plan.settings, plan.weights
    shared = " x ".join(
        f"{name} {size}"
        for name, size in (("tensor", settings.tensor), ("pipeline", settings.pipeline))
        if size > 1
    )
    method = f", {plan.quantization.method}" if plan.quantization else ""
    how = f"{_gib(weights.whole)} in {plan.dtype}{method}" + (f", shared over {shared}" if shared else "")
    return [Line("- weights", _gib(weights.even), how)] + [
        Line(f"- {what}" if size >= 0 else f"+ {what}", _gib(abs(size))) for what, size in weights.more
    ]


def _cache(plan: Plan) -> list[Line]:
    lines = []
    stage = _fullest(plan)
    total = len(plan.layers)
    counted = Counter(cache for number in stage for cache in plan.layers[number])
    for cache, count in counted.items():
        lines.append(_kind(plan, cache, count, len(stage)))
    none = sum(not plan.layers[number] for number in stage)
    if none:
        lines.append(Line(f"{none} of {len(stage)} layers", "0 B", "keep nothing of their own"))
    if len(stage) < total:
        lines.append(
            Line(
                f"layers {stage[0]} to {stage[-1]} of {total}", f"{len(stage)}", "the fullest pipeline stage"
            )
        )
    lines.append(
        Line("each further token", f"{plan.kv_per_token:,} B", f"keys and values in {plan.cache_dtype}")
    )
    lines.append(
        Line(
            "tokens in flight",
            f"{plan.in_flight:,}",
            f"{plan.settings.concurrent_batches} batches of max_num_batched_tokens {plan.batch:,}",
        )
    )
    return lines


def _kind(plan: Plan, cache: Cache, count: int, of: int) -> Line:
    ranks = plan.settings.tensor
    unit = "B a request" if cache.kind == "state" else "B a token"
    how = KINDS[cache.kind].format(reach=cache.reach)
    copied = ", the same on every rank" if cache.kind == "latent" and ranks > 1 else ""
    return Line(
        f"{count} of {of} layers", f"{count * cache.size:,} B", f"{how}: {cache.size:,} {unit} each{copied}"
    )


def _fullest(plan: Plan) -> range:
    parts = stages(len(plan.layers), plan.settings.pipeline)
    return max(parts, key=lambda stage: sum(cache.size for number in stage for cache in plan.layers[number]))


def _verdict(plan: Plan) -> Sequence[Line]:
    if not plan.pool.groups:
        return [Line("needed", "0 B", "an encoder keeps no cache")]
    groups = len(plan.pool.groups)
    how = f"{groups} group{'s' * (groups != 1)} of layers in blocks of {plan.pool.block:,} B, as vLLM pools them"
    longest = plan.longest
    held = "any length" if longest >= MOST_TOKENS else f"{longest:,}"
    fits = "fits" if plan.fits else "may fit: the estimates decide" if plan.may_fit else "does not fit"
    return [
        Line(f"one request of {plan.wanted:,}", _gib(plan.needed), how),
        Line("longest request that fits", held, f"tokens; max_model_len {plan.wanted:,} {fits}"),
    ]


def _filled(plan: Plan) -> list[Line]:
    """Values config.json leaves out."""
    known = defaults_of(plan.config.model_type)
    left_out = plan.config.filled_in(*FILLED) if known else {}
    if not left_out:
        return []
    said = ", ".join(f"{name} {value}" for name, value in left_out.items())
    return [Line(f"not in config.json, the default of model type {plan.config.model_type}", how=said)]
