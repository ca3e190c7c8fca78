"""Judge what a load measured by the model's objectives: PASS, FAIL or INCONCLUSIVE. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from tasks.records.load import Load
from tasks.records.objectives import LatencyName, Objectives
from tasks.records.reports import FigureName, LoadReport, Measured, Named, ObjectiveResult, Verdict

FROM_DUE: tuple[LatencyName, ...] = ("ttft", "e2e")  # latencies that a late send makes longer
ENOUGH_REQUESTS = 20  # fewer say nothing about a 95th percentile
GENERATOR_SHARE = 0.05  # of the tightest latency bound: a generator later than this may have broken it itself


def judged(measured: Measured, load: Load, objectives: Objectives, *, profile: str = "") -> LoadReport:
    """The report of a run."""
    results = judge(objectives, measured)
    verdict, reasons = decide(results, measured, objectives)
    return LoadReport(
        **dict(measured),
        verdict=verdict,
        reasons=reasons,
        objectives=results,
        each=objectives.each,
        offered_rate=load.offered_rate,
        load=str(load),
        route=load.endpoint or "chat",
        profile=profile,
    )


def judge(objectives: Objectives, measured: Measured) -> tuple[ObjectiveResult, ...]:
    """Every objective that is set, with what was measured. An objective for which nothing was measured does not hold."""
    results = []
    for name, percentile, seconds in objectives.latencies():
        value, bound = measured.latency(name).at(percentile), seconds * 1000
        holds = value is not None and value <= bound
        results.append(
            ObjectiveResult(figure=name, percentile=percentile, bound=bound, measured=value, holds=holds)
        )
    failed, allowed = measured.error_rate, objectives.errors
    holds = failed is not None and failed <= allowed
    results.append(ObjectiveResult(figure="errors", bound=allowed, measured=failed, holds=holds))
    at_least: tuple[tuple[FigureName, float | None, float | None], ...] = (
        ("goodput", objectives.goodput, measured.goodput),
        (
            "output_tokens_per_second",
            objectives.output_tokens_per_second,
            measured.output_tokens_per_second,
        ),
        (
            "requests_per_second",
            objectives.requests_per_second,
            measured.succeeded / measured.window_seconds,
        ),
    )
    for figure, least, value in at_least:
        if least is not None:
            holds = value is not None and value >= least
            results.append(ObjectiveResult(figure=figure, bound=least, measured=value, holds=holds))
    return tuple(results)


def decide(
    results: Sequence[ObjectiveResult], measured: Measured, objectives: Objectives
) -> tuple[Verdict, tuple[str, ...]]:
    """PASS when all hold, INCONCLUSIVE when the generator cannot tell, else FAIL; and the reasons, what broke first."""
    if measured.requests < ENOUGH_REQUESTS:
        why = f"{measured.requests} requests in the window are too few to tell ({ENOUGH_REQUESTS})"
        return "INCONCLUSIVE", (why, *describe_failures(measured))
    broken = [result for result in results if not result.holds]
    if not broken:
        return "PASS", (f"all {len(results)} objectives hold over {measured.requests} requests",)
    lines = (*(describe(result) for result in broken), *describe_failures(measured))
    tightest, own = tightest_from_due(objectives), measured.lateness_ms
    latency_broke = any(result.is_latency or result.figure == "goodput" for result in broken)
    # a late generator does not excuse failed requests
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
    return f"{result.name}: {describe_value(result)}"


def describe_value(result: ObjectiveResult) -> str:
    """ "900 ms, objective: at most 500 ms"."""
    sign = "at most" if result.is_latency or result.figure == "errors" else "at least"
    return f"{amount(result, result.measured)}, objective: {sign} {amount(result, result.bound)}"


def describe_failures(measured: Measured) -> tuple[str, ...]:
    """ "http 400, 52 requests: This model's maximum context length is …", the most frequent first."""
    kinds = sorted(measured.failures.items(), key=lambda item: -item[1])
    lines = []
    for kind, count in kinds:
        line = f"{kind}, {count} request{'s' if count > 1 else ''}"
        message = measured.failure_messages.get(kind)
        lines.append(f"{line}: {message}" if message else line)
    return tuple(lines)


def amount(what: Named, value: float | None) -> str:
    """A figure's value with its unit, to four digits."""
    if value is None:
        return "nothing measured"
    return f"{float(f'{value:.4g}'):,g}{' ms' if what.is_latency else ''}"


def describe_place(report: LoadReport) -> str:
    """Where the gateway was asked from, in words."""
    return {"cluster": "from inside the cluster", "here": "from where the run was"}[report.measured_from]
