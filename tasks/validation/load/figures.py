"""Turn a tally into distributions, blocks and rates. Pure. `Measured` of tasks/records/reports.py is the same, checked."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from tasks.validation.load.tally import GAP_SECONDS, Tally

REQUEST_LATENCIES = ("ttft", "tpot", "e2e")
BLOCK_REQUESTS = 10  # fewer in a block say little about its median
MOST_BLOCKS = 40


@dataclass(frozen=True, slots=True)
class Distribution:
    """Milliseconds; None where there was nothing to measure."""

    count: int
    mean: float | None = None
    p50: float | None = None
    p90: float | None = None
    p95: float | None = None
    p99: float | None = None
    max: float | None = None


@dataclass(frozen=True, slots=True)
class Block:
    """A part of the window, by when its requests were due."""

    start: float
    seconds: float
    requests: int
    failed: int
    output_tokens: int
    ttft: Distribution
    tpot: Distribution
    e2e: Distribution


@dataclass(frozen=True, slots=True)
class Measured:
    """Everything measured over the requests of the window. Milliseconds; rates a second."""

    started_at: str
    window_seconds: float
    achieved_rate: float
    requests: int
    succeeded: int
    failures: dict[str, int]
    failure_messages: dict[str, str]
    ttft: Distribution
    itl: Distribution
    tpot: Distribution
    e2e: Distribution
    output_tokens_per_second: float
    prompt_tokens_per_second: float
    goodput: float | None
    in_flight: float
    send_lateness: Distribution
    loop_lag_p99_ms: float
    warmup_failures: int
    cut_to_context: int
    blocks: tuple[Block, ...]
    quantiles: dict[str, tuple[float, ...]]


def measured(
    tally: Tally,
    window: float,
    *,
    started_at: str,
    lags: Sequence[float],
    bounded: bool = False,
    cut_to_context: int = 0,
) -> Measured:
    """The figures of a run. `lags`: seconds the event loop woke late; `bounded`: good requests have bounds."""
    each = {name: without_nan(getattr(tally, name)) for name in REQUEST_LATENCIES}
    itl, itl_quantiles = of_gaps(tally.gaps)
    latencies = {name: distribution(values) for name, values in each.items()}
    return Measured(
        started_at=started_at,
        window_seconds=window,
        achieved_rate=len(tally) / window,
        requests=len(tally),
        succeeded=sum(tally.ok),
        failures=dict(tally.failures),
        failure_messages=dict(tally.messages),
        itl=itl,
        output_tokens_per_second=sum(tally.output_tokens) / window,
        prompt_tokens_per_second=sum(tally.prompt_tokens) / window,
        goodput=tally.good / len(tally) if len(tally) and bounded else None,
        in_flight=sum(each["e2e"]) / window,
        send_lateness=distribution(tally.lateness),
        loop_lag_p99_ms=percentile(sorted(lags), 0.99) * 1000 if lags else 0.0,
        warmup_failures=tally.warmup_failures,
        cut_to_context=cut_to_context,
        blocks=blocks(tally, window),
        quantiles={name: quantiles(values) for name, values in each.items()} | {"itl": itl_quantiles},
        **latencies,
    )


def percentile(ordered: Sequence[float], share: float) -> float:
    """Linear interpolation between closest ranks (the same as numpy's default), `share` in 0..1."""
    position = share * (len(ordered) - 1)
    below = math.floor(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (position - below)


def distribution(seconds: Sequence[float]) -> Distribution:
    """In milliseconds."""
    if not len(seconds):
        return Distribution(count=0)
    ordered = sorted(value * 1000 for value in seconds)
    return Distribution(
        count=len(ordered),
        mean=sum(ordered) / len(ordered),
        p50=percentile(ordered, 0.50),
        p90=percentile(ordered, 0.90),
        p95=percentile(ordered, 0.95),
        p99=percentile(ordered, 0.99),
        max=ordered[-1],
    )


def of_gaps(gaps: Counter[int]) -> tuple[Distribution, tuple[float, ...]]:
    """The distribution and the quantiles of gaps counted in steps of GAP_SECONDS."""
    count = sum(gaps.values())
    if not count:
        return Distribution(count=0), ()
    steps = sorted(gaps)
    upto = list(accumulate(gaps[step] for step in steps))
    scale = GAP_SECONDS * 1000

    def at(share: float) -> float:
        position = share * (count - 1)
        below = math.floor(position)
        low = steps[bisect_right(upto, below)]
        high = steps[bisect_right(upto, min(below + 1, count - 1))]
        return (low + (high - low) * (position - below)) * scale

    mean = sum(step * gaps[step] for step in steps) / count * scale
    gap_distribution = Distribution(
        count=count, mean=mean, p50=at(0.5), p90=at(0.9), p95=at(0.95), p99=at(0.99), max=steps[-1] * scale
    )
    return gap_distribution, tuple(round(at(percent / 100), 3) for percent in range(101))


def quantiles(seconds: Iterable[float]) -> tuple[float, ...]:
    """Milliseconds at each percent from 0 to 100; empty where nothing was measured."""
    ordered = sorted(value * 1000 for value in seconds)
    return tuple(round(percentile(ordered, percent / 100), 3) for percent in range(101)) if ordered else ()


def without_nan(values: Iterable[float]) -> list[float]:
    """The values that were measured."""
    return [value for value in values if not math.isnan(value)]


def blocks(tally: Tally, window: float) -> tuple[Block, ...]:
    """The window in equal parts with BLOCK_REQUESTS or more each on average, MOST_BLOCKS at most."""
    count = max(1, min(MOST_BLOCKS, len(tally) // BLOCK_REQUESTS))
    members: list[list[int]] = [[] for _ in range(count)]
    for index, due in enumerate(tally.due):
        members[min(count - 1, max(0, int(due / window * count)))].append(index)
    return tuple(
        Block(
            start=number * window / count,
            seconds=window / count,
            requests=len(mine),
            failed=sum(not tally.ok[i] for i in mine),
            output_tokens=sum(tally.output_tokens[i] for i in mine),
            **{
                name: distribution(without_nan(getattr(tally, name)[i] for i in mine))
                for name in REQUEST_LATENCIES
            },
        )
        for number, mine in enumerate(members)
    )
