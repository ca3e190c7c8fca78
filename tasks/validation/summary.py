"""A load report in lines for a log and rows for a table."""

from __future__ import annotations

from tasks.records.objectives import LATENCIES, STREAMED
from tasks.records.progress import Reporter
from tasks.records.questions import PATHS
from tasks.records.reports import Distribution, LoadReport
from tasks.validation.judge import describe, describe_failures, describe_place, describe_value


def tell(report: LoadReport, reporter: Reporter) -> None:
    """Say the verdict and what decided it, a line each."""
    reporter.say(f"{report.verdict}: {report.reasons[0]}")
    for result in report.objectives:
        reporter.say(f"{'holds ' if result.holds else 'BROKEN'} {describe(result)}")
    for line in describe_failures(report):
        reporter.say(f"failed: {line}")
    if report.comparison:
        reporter.say(report.comparison.why)
    if report.cut_to_context:
        reporter.say(f"{report.cut_to_context} requests were cut to what the model can take")


def table(report: LoadReport) -> list[dict[str, str]]:
    """Rows for a table artifact: objectives first, then what was measured."""
    rows = [
        _row(f"objective {result.name}", describe_value(result), "holds" if result.holds else "BROKEN")
        for result in report.objectives
    ]
    rows += [
        _row(f"{name} (ms)", _percentiles(report.latency(name)))
        for name in LATENCIES
        if report.generates or name not in STREAMED
    ]
    rows.append(_row("send lateness (ms)", _percentiles(report.send_lateness)))
    rows.append(_row("measured", describe_place(report)))
    rows.append(_row("requests", f"{report.succeeded} of {report.requests} succeeded"))
    rows += [_row("failed", line) for line in describe_failures(report)]
    rows.append(_row("rate", _rate(report)))
    rows.append(_row("asked", f"/v1{PATHS[report.route]}"))
    rows.append(_row("output tokens", report.output))
    if report.prompt_tokens_per_second is not None:
        rows.append(_row("prompt tokens", f"{report.prompt_tokens_per_second:.0f}/s"))
    if report.goodput is not None:
        rows.append(_row("goodput", f"{report.goodput:.1%}"))
    return rows


def _row(what: str, value: str, verdict: str = "") -> dict[str, str]:
    return {"what": what, "value": value, "": verdict}


def _rate(report: LoadReport) -> str:
    offered = f" of {report.offered_rate:g}/s" if report.offered_rate is not None else ""
    return f"{report.achieved_rate:.1f}/s{offered}"


def _percentiles(distribution: Distribution) -> str:
    if distribution.p50 is None or distribution.p95 is None or distribution.p99 is None:
        return "none"
    return f"p50 {distribution.p50:.1f}, p95 {distribution.p95:.1f}, p99 {distribution.p99:.1f}"
