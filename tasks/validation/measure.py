"""A tally as distributions, distributions against objectives, objectives as a verdict. Pure."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from itertools import accumulate

from tasks.records.model import Load
from tasks.records.objectives import REQUEST_LATENCIES, LatencyName, Objectives
from tasks.records.results import Block, Distribution, FigureName, LoadReport, Named, ObjectiveResult, Verdict
from tasks.validation.tally import GAP_SECONDS, Tally

FROM_DUE: tuple[LatencyName, ...] = ("ttft", "e2e")  # latencies that a late send makes longer
BLOCK_REQUESTS = 10  # fewer in a block say little of its median
MOST_BLOCKS = 40
ENOUGH_REQUESTS = 20  # fewer tell nothing about a 95th percentile
GENERATOR_SHARE = 0.05  # of the tightest latency bound: more lateness than this may be the generator's own


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
    """The same, and the quantiles, of gaps counted in steps of GAP_SECONDS."""
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
    found = Distribution(
        count=count, mean=mean, p50=at(0.5), p90=at(0.9), p95=at(0.95), p99=at(0.99), max=steps[-1] * scale
    )
    return found, tuple(round(at(percent / 100), 3) for percent in range(101))


def quantiles(seconds: Iterable[float]) -> tuple[float, ...]:
    """Milliseconds at each percent from 0 to 100; empty where nothing was measured."""
    ordered = sorted(value * 1000 for value in seconds)
    return tuple(round(percentile(ordered, percent / 100), 3) for percent in range(101)) if ordered else ()


def measured(values: Iterable[float]) -> list[float]:
    """Without the NaNs of what was not measured."""
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
                name: distribution(measured(getattr(tally, name)[i] for i in mine))
                for name in REQUEST_LATENCIES
            },
        )
        for number, mine in enumerate(members)
    )


def report(
    tally: Tally,
    load: Load,
    objectives: Objectives,
    *,
    started_at: datetime,
    lags: Sequence[float],
    cut_to_context: int = 0,
) -> LoadReport:
    """Everything measured over the requests of the window, and the verdict."""
    counted, succeeded = len(tally), sum(tally.ok)
    bounded = any(objectives.each.bounds())
    each: dict[LatencyName, list[float]] = {
        name: measured(getattr(tally, name)) for name in REQUEST_LATENCIES
    }
    itl, itl_quantiles = of_gaps(tally.gaps)
    figures = {name: distribution(values) for name, values in each.items()} | {"itl": itl}
    lateness = distribution(tally.lateness)
    lag = percentile(sorted(lags), 0.99) * 1000 if lags else 0.0
    goodput = tally.good / counted if counted and bounded else None
    throughput = sum(tally.output_tokens) / load.window
    results = judge(
        objectives,
        figures,
        error_rate=(counted - succeeded) / counted if counted else None,
        goodput=goodput,
        throughput=throughput,
        request_rate=succeeded / load.window,
    )
    verdict, reasons = decide(results, counted, objectives, lateness, lag)
    return LoadReport(
        verdict=verdict,
        reasons=reasons,
        objectives=results,
        started_at=started_at,
        window_seconds=load.window,
        offered_rate=load.offered_rate,
        achieved_rate=counted / load.window,
        requests=counted,
        succeeded=succeeded,
        failures=dict(tally.failures),
        output_tokens_per_second=throughput,
        goodput=goodput,
        send_lateness=lateness,
        loop_lag_p99_ms=lag,
        load=str(load),
        in_flight=sum(each["e2e"]) / load.window,
        prompt_tokens_per_second=sum(tally.prompt_tokens) / load.window,
        warmup_failures=tally.warmup_failures,
        cut_to_context=cut_to_context,
        blocks=blocks(tally, load.window),
        quantiles={name: quantiles(values) for name, values in each.items()} | {"itl": itl_quantiles},
        **figures,
    )


def judge(
    objectives: Objectives,
    latencies: Mapping[LatencyName, Distribution],
    *,
    error_rate: float | None,
    goodput: float | None,
    throughput: float,
    request_rate: float = 0.0,
) -> tuple[ObjectiveResult, ...]:
    """Every objective that was set, with what was measured. Nothing measured never holds."""
    results = []
    for name, percentile, seconds in objectives.latencies():
        found, bound = latencies[name].at(percentile), seconds * 1000
        holds = found is not None and found <= bound
        results.append(
            ObjectiveResult(figure=name, percentile=percentile, bound=bound, measured=found, holds=holds)
        )
    holds = error_rate is not None and error_rate <= objectives.errors
    results.append(
        ObjectiveResult(figure="errors", bound=objectives.errors, measured=error_rate, holds=holds)
    )
    at_least: tuple[tuple[FigureName, float | None, float | None], ...] = (
        ("goodput", objectives.goodput, goodput),
        ("output_tokens_per_second", objectives.output_tokens_per_second, throughput),
        ("requests_per_second", objectives.requests_per_second, request_rate),
    )
    for figure, least, found in at_least:
        if least is not None:
            holds = found is not None and found >= least
            results.append(ObjectiveResult(figure=figure, bound=least, measured=found, holds=holds))
    return tuple(results)


def decide(
    results: Sequence[ObjectiveResult],
    requests: int,
    objectives: Objectives,
    lateness: Distribution,
    lag_p99_ms: float,
) -> tuple[Verdict, tuple[str, ...]]:
    """PASS when all hold; INCONCLUSIVE when the generator cannot tell; else FAIL."""
    if requests < ENOUGH_REQUESTS:
        return "INCONCLUSIVE", (f"{requests} requests in the window are too few to tell ({ENOUGH_REQUESTS})",)
    broken = [result for result in results if not result.holds]
    if not broken:
        return "PASS", (f"all {len(results)} objectives hold over {requests} requests",)
    lines = tuple(describe(result) for result in broken)
    tightest = tightest_from_due(objectives)
    own = max(lateness.p99 or 0.0, lag_p99_ms)
    latency_broke = any(result.is_latency or result.figure == "goodput" for result in broken)
    # the generator's lateness excuses no failed requests
    errors_broke = any(result.figure == "errors" for result in broken)
    if tightest is not None and own > GENERATOR_SHARE * tightest and latency_broke and not errors_broke:
        why = (
            f"the generator itself was late by {own:.1f} ms at p99, more than "
            f"{GENERATOR_SHARE:.0%} of the {tightest:g} ms bound"
        )
        return "INCONCLUSIVE", (why, *lines)
    return "FAIL", lines


def tightest_from_due(objectives: Objectives) -> float | None:
    """The smallest bound, in milliseconds, on a latency that a late send makes longer; None where there is none."""
    seconds = [bound for name, _, bound in objectives.latencies() if name in FROM_DUE]
    seconds += [bound for name, bound in objectives.each.bounds() if name in FROM_DUE]
    return min(seconds) * 1000 if seconds else None


def describe(result: ObjectiveResult) -> str:
    """ "ttft p95: 900 ms, objective: at most 500 ms"."""
    sign = "at most" if result.is_latency or result.figure == "errors" else "at least"
    return (
        f"{result.name}: {amount(result, result.measured)}, objective: {sign} {amount(result, result.bound)}"
    )


def amount(what: Named, value: float | None) -> str:
    """A figure's value with its unit, to four digits."""
    if value is None:
        return "nothing measured"
    unit = " ms" if what.is_latency else ""
    return f"{float(f'{value:.4g}'):,g}{unit}"
