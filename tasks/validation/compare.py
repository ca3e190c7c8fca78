"""Compare a run with the last proven one: worse by more than margin and noise is a regression. Pure.

Noise is by batch means: for each percentile the mean over the window's blocks is compared, with the standard error of the
difference of two such means. A slow minute stays within its blocks; a bootstrap of single requests would take it for many
independent observations.
"""

from __future__ import annotations

import math
import statistics

from tasks.records.objectives import REQUEST_LATENCIES, Percentile, RequestLatency
from tasks.records.reports import Comparison, Figure, FigureName, LoadReport
from tasks.validation.judge import FROM_DUE, amount

SIGMAS = 3.0  # one false alarm in about 700 comparisons
ENOUGH_BLOCKS = 5
Name = tuple[FigureName, Percentile | None]
COMPARED: tuple[tuple[RequestLatency, Percentile], ...] = tuple(
    (name, percentile) for name in REQUEST_LATENCIES for percentile in ("p50", "p95")
)


def compare(
    now: LoadReport, before: LoadReport | None, margin: float | None, release: str | None
) -> Comparison:
    """Compare every figure both runs have, or say why not. `margin`: the share by which a figure may be worse."""
    if before is None or release is None:
        return Comparison(compared=False, why="nothing to compare with: no release is proven here yet")
    if margin is None:
        return Comparison(compared=False, why="not compared: objectives.regression is null", release=release)
    if not before.profile or before.profile != now.profile:
        why = f"not compared with release {release}: it was proven under another load, or measured by other definitions"
        return Comparison(compared=False, why=why, release=release)
    fewest = min(len(before.blocks), len(now.blocks))
    if fewest < ENOUGH_BLOCKS:
        why = (
            f"not compared with release {release}: {fewest} blocks of requests say nothing about the noise "
            f"({ENOUGH_BLOCKS} are needed)"
        )
        return Comparison(compared=False, why=why, release=release)
    figures = [*latencies(now, before, margin), error_rate(now, before, margin)]
    if now.offered_rate is None and before.offered_rate is None:
        figures.append(throughput(now, before, margin))
    worse = [figure.name for figure in figures if figure.regressed]
    outcome = f"{', '.join(worse)} worse than allowed" if worse else "nothing is worse than allowed"
    return Comparison(
        compared=True, why=f"beside release {release}: {outcome}", release=release, figures=tuple(figures)
    )


def latencies(now: LoadReport, before: LoadReport, margin: float) -> list[Figure]:
    figures = []
    for name, percentile in COMPARED:
        one, other = (
            [v for block in run.blocks if (v := block.latency(name).at(percentile)) is not None]
            for run in (now, before)
        )
        if len(one) >= ENOUGH_BLOCKS and len(other) >= ENOUGH_BLOCKS:
            figures.append(figure_of_blocks((name, percentile), other, one, margin, more_is_worse=True))
    return figures


def throughput(now: LoadReport, before: LoadReport, margin: float) -> Figure:
    """Output tokens a second of a closed loop, requests where there are none; an open loop's are what was asked for."""
    if not now.generates:
        one, other = ([(b.requests - b.failed) / b.seconds for b in run.blocks] for run in (now, before))
        return figure_of_blocks(("requests_per_second", None), other, one, margin, more_is_worse=False)
    one, other = ([block.output_tokens / block.seconds for block in run.blocks] for run in (now, before))
    return figure_of_blocks(("output_tokens_per_second", None), other, one, margin, more_is_worse=False)


def error_rate(now: LoadReport, before: LoadReport, margin: float) -> Figure:
    """The error rate. Its noise: the standard error of the difference of two shares of the same population."""
    failed = (before.requests - before.succeeded, now.requests - now.succeeded)
    counts = (max(1, before.requests), max(1, now.requests))
    pooled = sum(failed) / sum(counts)
    noise = math.sqrt(pooled * (1 - pooled) * (1 / counts[0] + 1 / counts[1]))
    other, one = failed[0] / counts[0], failed[1] / counts[1]
    return figure(("errors", None), other, one, noise, margin, one - other)


def figure(name: Name, before: float, now: float, noise: float, margin: float, worse_by: float) -> Figure:
    allowed = margin * before + SIGMAS * noise
    return Figure(
        figure=name[0],
        percentile=name[1],
        before=before,
        now=now,
        noise=noise,
        allowed=allowed,
        regressed=worse_by > allowed,
    )


def figure_of_blocks(
    name: Name, before: list[float], now: list[float], margin: float, *, more_is_worse: bool
) -> Figure:
    noise = math.hypot(standard_error(before), standard_error(now))
    first, second = statistics.fmean(before), statistics.fmean(now)
    return figure(name, first, second, noise, margin, second - first if more_is_worse else first - second)


def standard_error(values: list[float]) -> float:
    return statistics.stdev(values) / math.sqrt(len(values))


def with_comparison(report: LoadReport, comparison: Comparison) -> LoadReport:
    """Add a comparison to a report. A PASS with a regression becomes FAIL, or INCONCLUSIVE where the generator was as late."""
    compared = report.model_copy(update={"comparison": comparison})
    worse = [figure for figure in comparison.figures if figure.regressed]
    if not worse or report.verdict == "INCONCLUSIVE":
        return compared
    lines = tuple(describe_figure(figure, comparison.release) for figure in worse)
    own = report.lateness_ms
    latency = all(figure.figure in FROM_DUE for figure in worse)
    if report.verdict == "PASS" and latency and all(figure.now - figure.before <= own for figure in worse):
        why = f"the generator itself was late by {own:.1f} ms at p99, as much as the regression"
        return compared.model_copy(update={"verdict": "INCONCLUSIVE", "reasons": (why, *lines)})
    kept = report.reasons if report.verdict == "FAIL" else ()
    return compared.model_copy(update={"verdict": "FAIL", "reasons": (*kept, *lines)})


def describe_figure(figure: Figure, release: str | None) -> str:
    return (
        f"{figure.name}: {amount(figure, figure.now)}, was {amount(figure, figure.before)} in release {release}; "
        f"worse by at most {figure.allowed:.3g} is allowed, of which {SIGMAS:g} x {figure.noise:.2g} is noise"
    )
