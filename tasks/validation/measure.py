"""Outcomes as distributions, distributions against objectives, objectives as a verdict. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from datetime import datetime

from tasks.spec.model import Load, Objectives
from tasks.spec.records import Distribution, LoadReport, ObjectiveResult, Verdict
from tasks.validation.wire import Outcome

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
    if not seconds:
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


def is_good(outcome: Outcome, objectives: Objectives) -> bool:
    """Whether one request met every per-request bound there is."""
    if outcome.failure:
        return False
    bounds = (
        (objectives.request_ttft_ms, outcome.ttft),
        (objectives.request_tpot_ms, outcome.tpot),
        (objectives.request_e2e_ms, outcome.e2e),
    )
    return all(bound is None or value is None or value * 1000 <= bound for bound, value in bounds)


def report(
    outcomes: Sequence[Outcome],
    load: Load,
    objectives: Objectives,
    *,
    started_at: datetime,
    lags: Sequence[float],
) -> LoadReport:
    """Everything measured over the requests of the window, and the verdict."""
    counted = [outcome for outcome in outcomes if outcome.counted]
    succeeded = [outcome for outcome in counted if not outcome.failure]
    bounded = any((objectives.request_ttft_ms, objectives.request_tpot_ms, objectives.request_e2e_ms))
    good = sum(is_good(outcome, objectives) for outcome in counted)
    figures = {
        "ttft": distribution([o.ttft for o in succeeded if o.ttft is not None]),
        "itl": distribution([gap for o in succeeded for gap in o.gaps]),
        "tpot": distribution([o.tpot for o in succeeded if o.tpot is not None]),
        "e2e": distribution([o.e2e for o in succeeded if o.e2e is not None]),
    }
    lateness = distribution([outcome.lateness for outcome in counted])
    lag = percentile(sorted(lags), 0.99) * 1000 if lags else 0.0
    goodput = good / len(counted) if counted and bounded else None
    throughput = sum(o.output_tokens for o in succeeded) / load.window
    results = judge(
        objectives,
        figures,
        error_rate=(len(counted) - len(succeeded)) / len(counted) if counted else None,
        goodput=goodput,
        throughput=throughput,
    )
    verdict, reasons = decide(results, len(counted), objectives, lateness, lag)
    return LoadReport(
        verdict=verdict,
        reasons=reasons,
        objectives=results,
        started_at=started_at,
        window_seconds=load.window,
        offered_rate=load.rate,
        achieved_rate=len(counted) / load.window,
        requests=len(counted),
        succeeded=len(succeeded),
        failures=dict(Counter(outcome.failure for outcome in counted if outcome.failure)),
        output_tokens_per_second=throughput,
        goodput=goodput,
        send_lateness=lateness,
        loop_lag_p99_ms=lag,
        **figures,
    )


def judge(
    objectives: Objectives,
    figures: dict[str, Distribution],
    *,
    error_rate: float | None,
    goodput: float | None,
    throughput: float,
) -> tuple[ObjectiveResult, ...]:
    """Every objective that was set, with what was measured. Nothing measured never holds."""
    results = []
    for name, bound in objectives.model_dump(exclude_none=True).items():
        if name.startswith("request_"):
            continue  # bounds of one request: they act through goodput
        measured: float | None
        if name == "max_error_rate":
            measured, holds = error_rate, error_rate is not None and error_rate <= bound
        elif name == "min_goodput":
            measured, holds = goodput, goodput is not None and goodput >= bound
        elif name == "min_output_tokens_per_second":
            measured, holds = throughput, throughput >= bound
        else:
            metric, percent, _ = name.split("_")
            measured = getattr(figures[metric], percent)
            holds = measured is not None and measured <= bound
        results.append(ObjectiveResult(name=name, bound=bound, measured=measured, holds=holds))
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
    if tightest is not None and own > GENERATOR_SHARE * tightest and latency_broke:
        why = (
            f"the generator itself was late by {own:.1f} ms at p99, more than "
            f"{GENERATOR_SHARE:.0%} of the {tightest:g} ms bound"
        )
        return "INCONCLUSIVE", (why, *lines)
    return "FAIL", lines


def describe(result: ObjectiveResult) -> str:
    measured = "nothing measured" if result.measured is None else f"{result.measured:.4g}"
    sign = ">=" if result.name.startswith("min_") else "<="
    return f"{result.name}: {measured}, asked for {sign} {result.bound:g}"
