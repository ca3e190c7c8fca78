"""A tally as distributions, distributions against objectives, objectives as a verdict. Pure."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import accumulate

from tasks.records.model import Load, Objectives
from tasks.records.results import Block, Distribution, LoadReport, ObjectiveResult, Verdict
from tasks.validation.tally import GAP_SECONDS, Tally

PER_REQUEST = ("ttft", "tpot", "e2e")
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
            **{name: distribution(measured(getattr(tally, name)[i] for i in mine)) for name in PER_REQUEST},
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
    bounded = any((objectives.request_ttft_ms, objectives.request_tpot_ms, objectives.request_e2e_ms))
    each = {name: measured(getattr(tally, name)) for name in PER_REQUEST}
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
    figures: dict[str, Distribution],
    *,
    error_rate: float | None,
    goodput: float | None,
    throughput: float,
    request_rate: float = 0.0,
) -> tuple[ObjectiveResult, ...]:
    """Every objective that was set, with what was measured. Nothing measured never holds."""
    results = []
    for name, bound in objectives.model_dump(exclude_none=True).items():
        if name.startswith("request_") or name == "max_regression":
            continue  # bounds of one request act through goodput; a regression is judged beside another run
        found: float | None
        if name == "max_error_rate":
            found, holds = error_rate, error_rate is not None and error_rate <= bound
        elif name == "min_goodput":
            found, holds = goodput, goodput is not None and goodput >= bound
        elif name == "min_output_tokens_per_second":
            found, holds = throughput, throughput >= bound
        elif name == "min_requests_per_second":
            found, holds = request_rate, request_rate >= bound
        else:
            metric, percent, _ = name.split("_")
            found = getattr(figures[metric], percent)
            holds = found is not None and found <= bound
        results.append(ObjectiveResult(name=name, bound=bound, measured=found, holds=holds))
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
    tightest = min(
        (
            bound
            for name, bound in objectives.model_dump(exclude_none=True).items()
            if name.endswith("_ms") and not name.startswith(("tpot", "itl", "request_tpot"))
        ),
        default=None,
    )
    own = max(lateness.p99 or 0.0, lag_p99_ms)
    latency_broke = any(result.name.endswith("_ms") or result.name == "min_goodput" for result in broken)
    errors_broke = any(
        result.name == "max_error_rate" for result in broken
    )  # no lateness of ours excuses those
    if tightest is not None and own > GENERATOR_SHARE * tightest and latency_broke and not errors_broke:
        why = (
            f"the generator itself was late by {own:.1f} ms at p99, more than "
            f"{GENERATOR_SHARE:.0%} of the {tightest:g} ms bound"
        )
        return "INCONCLUSIVE", (why, *lines)
    return "FAIL", lines


def describe(result: ObjectiveResult) -> str:
    found = "nothing measured" if result.measured is None else f"{result.measured:.4g}"
    sign = ">=" if result.name.startswith("min_") else "<="
    return f"{result.name}: {found}, asked for {sign} {result.bound:g}"
