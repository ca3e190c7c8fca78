"""Draw a load report as one self-contained HTML page, without network or script. Pure; every text is escaped."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from html import escape
from importlib import resources

from tasks.records.objectives import (
    PERCENTILES,
    REQUEST_LATENCIES,
    STREAMED,
    LatencyName,
    Objectives,
    Percentile,
    RequestLatency,
)
from tasks.records.questions import PATHS
from tasks.records.reports import LoadPage, LoadReport, Sweep, SweepStep
from tasks.records.results import Release
from tasks.validation.charts import Chart, Line, Mark, draw, number
from tasks.validation.judge import describe_place, describe_value

TITLES: dict[LatencyName, str] = {
    "ttft": "Time to first token",
    "e2e": "End to end",
    "tpot": "Time per output token",
    "itl": "Inter-token latency",
}
SHOWN: tuple[Percentile, ...] = ("p50", "p99")
CURVES: tuple[tuple[Percentile, str], ...] = (("p50", "s0"), ("p95", "s1"))


def page(
    release: Release, objectives: Objectives, report: LoadReport | None, swept: tuple[str, Sweep] | None
) -> LoadPage:
    """The page of a report, of a sweep, or of both. `swept`: the release that was swept, and the sweep."""
    swept_on, sweep = swept or ("", None)
    title = f"{release.model} in {release.environment}: release {release.id}"
    document = {
        "release": release.model_dump(mode="json"),
        "objectives": objectives.model_dump(mode="json", exclude_none=True),
        "report": report.model_dump(mode="json") if report else None,
        "sweep": sweep.model_dump(mode="json") if sweep else None,
        "swept_on": swept_on or None,
    }
    sections = [_head(release, report)]
    if report:
        sections += [_objectives(report), _comparison(report), _figures(report)]
        sections += [_distributions(report, objectives), _over_time(report, objectives), _failures(report)]
    if sweep:
        sections.append(_sweep(sweep, swept_on, report, objectives))
    sections.append(_foot(release, report))
    text = json.dumps(document, indent=1)
    inlined = text.replace("<", "\\u003c")  # so that no text can end the script element
    html = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{style()}</style></head><body><main>"
        + "\n".join(section for section in sections if section)
        + f'</main><script type="application/json" id="report">{inlined}</script></body></html>\n'
    )
    return LoadPage(html=html, document=text)


def style() -> str:
    return resources.files("tasks.validation").joinpath("page.css").read_text("utf-8")


def _head(release: Release, report: LoadReport | None) -> str:
    when = f"{report.started_at:%Y-%m-%d %H:%M} UTC" if report else ""
    verdict = f'<span class="verdict {report.verdict}">{report.verdict}</span>' if report else ""
    reasons = "".join(f"<li>{escape(reason)}</li>" for reason in report.reasons) if report else ""
    load = (
        f'<p class="quiet">{escape(report.load)}, {report.window_seconds:g} s counted, {when}, {describe_place(report)}</p>'
        if report
        else ""
    )
    return (
        f"<header><h1>{escape(release.model)} <small>in {escape(release.environment)}</small></h1>{verdict}"
        f'{load}<ul class="reasons">{reasons}</ul></header>'
    )


def _objectives(report: LoadReport) -> str:
    rows = [
        (
            escape(result.name),
            escape(describe_value(result)),
            '<span class="ok">holds</span>' if result.holds else '<span class="bad">broken</span>',
        )
        for result in report.objectives
    ]
    return _section("Objectives", _table(("", "measured", ""), rows))


def _comparison(report: LoadReport) -> str:
    comparison = report.comparison
    if comparison is None:
        return ""
    rows = [
        (
            escape(figure.name),
            number(figure.before),
            number(figure.now),
            f"{number(figure.allowed)} (noise {number(figure.noise)})",
            '<span class="bad">worse</span>' if figure.regressed else '<span class="ok">no worse</span>',
        )
        for figure in comparison.figures
    ]
    table = _table(("", "last proven", "now", "worse by at most", ""), rows) if rows else ""
    return _section("Beside the last proven release", f"<p>{escape(comparison.why)}</p>{table}")


def _figures(report: LoadReport) -> str:
    rate = f"{report.achieved_rate:.2f}/s" + (f" of {report.offered_rate:g}/s" if report.offered_rate else "")
    tiles: list[tuple[str, str]] = [
        ("requests", f"{report.succeeded:,} of {report.requests:,}"),
        ("rate", rate),
        ("output tokens", f"{report.output_tokens_per_second:,.0f}/s" if report.generates else "none"),
        ("under way", "-" if report.in_flight is None else f"{report.in_flight:.1f}"),
        ("goodput", "-" if report.goodput is None else f"{report.goodput:.1%}"),
        ("sent late, p99", f"{report.send_lateness.p99 or 0.0:.1f} ms"),
    ]
    shown = "".join(
        f'<div class="tile"><b>{escape(value)}</b><span>{escape(name)}</span></div>' for name, value in tiles
    )
    rows = [
        (
            escape(name),
            *(_ms(getattr(latency, percent)) for percent in ("mean", *PERCENTILES, "max")),
            f"{latency.count:,}",
        )
        for key, name in TITLES.items()
        if (latency := report.latency(key)).count
    ]
    table = _table(("milliseconds", "mean", *PERCENTILES, "max", "count"), rows)
    return _section("Figures", f'<div class="tiles">{shown}</div>{table}')


def _distributions(report: LoadReport, objectives: Objectives) -> str:
    charts = []
    for key, name in TITLES.items():
        if not _is_of(report, key):
            continue
        values = report.quantiles.get(key, ())
        points = [(value, float(percent)) for percent, value in enumerate(values)]
        latency = report.latency(key)
        marks = [Mark(f"{p} {number(v)}", v, True, "quantile") for p in SHOWN if (v := latency.at(p))]
        marks += [Mark(f"bound {b}", v, True) for b, v in _bounds(objectives, key)]
        spread = bool(points) and points[-1][0] > 20 * max(points[0][0], 1e-3)
        charts.append(
            draw(
                Chart(
                    name,
                    "milliseconds" + (" (logarithmic)" if spread else ""),
                    "% of requests" if key != "itl" else "% of gaps",
                    [Line(f"share at most so long, n = {latency.count:,}", points, "s0")],
                    marks,
                    log_x=spread,
                    y_top=100,
                )
            )
        )
    return _section("Latency distribution", f'<div class="charts">{"".join(charts)}</div>')


def _over_time(report: LoadReport, objectives: Objectives) -> str:
    if not report.blocks:
        return ""
    charts = []
    for key in REQUEST_LATENCIES:
        if not _is_of(report, key):
            continue
        lines = [
            Line(
                percent,
                [
                    (block.start + block.seconds / 2, value)
                    for block in report.blocks
                    if (value := getattr(block.latency(key), percent)) is not None
                ],
                f"s{n}",
                dots=True,
            )
            for n, percent in enumerate(("p50", "p95", "max"))
        ]
        marks = [Mark(f"bound {b}", v, False) for b, v in _bounds(objectives, key)]
        charts.append(draw(Chart(TITLES[key], "seconds into the window", "milliseconds", lines, marks)))
    rates = [
        Line(
            "requests due",
            [(b.start + b.seconds / 2, b.requests / b.seconds) for b in report.blocks],
            "s0",
            dots=True,
        ),
        Line(
            "failed",
            [(b.start + b.seconds / 2, b.failed / b.seconds) for b in report.blocks],
            "s3",
            dots=True,
        ),
    ]
    charts.append(
        draw(Chart("Requests", "seconds into the window, by when they were due", "a second", rates))
    )
    return _section("Over time", f'<div class="charts">{"".join(charts)}</div>')


def _failures(report: LoadReport) -> str:
    if not report.failures:
        return _section("Failures", "<p>None.</p>")
    most = max(report.failures.values())
    bars = "".join(
        f'<div class="bar"><span>{escape(kind)}</span><i style="width:{max(1, 60 * count / most):.1f}%"></i>'
        f"<b>{count:,} ({count / report.requests:.2%})</b>"
        f'<q class="quiet">{escape(report.failure_messages.get(kind, ""))}</q></div>'
        for kind, count in sorted(report.failures.items(), key=lambda item: -item[1])
    )
    return _section("Failures by kind", bars)


def _sweep(sweep: Sweep, swept_on: str, report: LoadReport | None, objectives: Objectives) -> str:
    """The curve of a sweep; the rate of `report` is marked on it."""
    steps = sorted(sweep.steps, key=lambda step: step.rate)
    rates = [Mark(f"knee {sweep.knee:.3g}/s", sweep.knee, True, "knee")] if sweep.knee else []
    if report and report.offered_rate:
        rates.append(Mark(f"validated {report.offered_rate:.3g}/s", report.offered_rate, True, "quantile"))
    keys: tuple[RequestLatency, ...] = ("ttft", "e2e")
    if all(step.ttft.p50 is None for step in steps):
        keys = ("e2e",)
    charts = "".join(_rate_chart(key, steps, rates, objectives) for key in keys)
    when = f"<p class='quiet'>Swept on release {escape(swept_on)}, {sweep.started_at:%Y-%m-%d %H:%M} UTC</p>"
    body = f'{_outcome(sweep)}{when}<div class="charts">{charts}</div>{_steps(steps)}'
    return _section("Rate against latency", body)


def _rate_chart(
    key: RequestLatency, steps: Sequence[SweepStep], rates: Sequence[Mark], objectives: Objectives
) -> str:
    """One latency against the rate, with the marks of the rates and of the objectives' bounds."""
    lines = [
        Line(
            percentile,
            [(step.rate, v) for step in steps if (v := step.latency(key).at(percentile))],
            style,
            dots=True,
        )
        for percentile, style in CURVES
    ]
    return draw(
        Chart(
            f"{TITLES[key]} against rate",
            "requests a second",
            "milliseconds (logarithmic)",
            lines,
            [*rates, *(Mark(f"bound {b}", v, False) for b, v in _bounds(objectives, key))],
            log_x=True,
            log_y=True,
        )
    )


def _outcome(sweep: Sweep) -> str:
    if sweep.refused:
        return f"<p><b>Refused:</b> {escape(sweep.refused)}</p>"
    return (
        f"<p>The objectives hold up to <b>{sweep.knee or 0:.3g} requests a second</b> on {sweep.replicas} "
        f"replica{'s' if sweep.replicas > 1 else ''}. Proposed: "
        f"<code>scaling.requests_per_replica: {sweep.requests_per_replica}</code>, "
        f"<code>engine.max_num_seqs: {sweep.max_num_seqs}</code>.</p><p class='quiet'>{escape(sweep.why)}</p>"
    )


def _steps(steps: Sequence[SweepStep]) -> str:
    rows = [
        (
            f"{step.rate:.3g}/s",
            f'<span class="{"ok" if step.verdict == "PASS" else "bad"}">{step.verdict}</span>',
            f"{step.in_flight:.1f}",
            _ms(step.ttft.p95),
            _ms(step.e2e.p95),
            f"{step.output_tokens_per_second:,.0f}",
            f"{step.error_rate:.2%}",
            escape(step.reason),
        )
        for step in steps
    ]
    return _table(("rate", "", "under way", "ttft p95", "e2e p95", "tokens/s", "errors", ""), rows)


def _foot(release: Release, report: LoadReport | None) -> str:
    facts = [
        ("release", f"{release.id} (bundle {release.bundle})"),
        ("model", f"{release.repo} at {release.commit}"),
        ("image", release.image),
    ]
    if report:
        facts += [
            ("asked", f"/v1{PATHS[report.route]}"),
            ("output tokens", report.output),
            ("load profile", report.profile or "-"),
            ("event loop lag p99", f"{report.loop_lag_p99_ms:.1f} ms"),
            ("failed in the warm-up, not counted", str(report.warmup_failures)),
            ("requests cut to the model's context", str(report.cut_to_context)),
        ]
    rows = [(escape(name), escape(value)) for name, value in facts]
    note = '<p class="quiet">Latencies count from when a request was due. Definitions: docs/measuring.md.</p>'
    return _section("What was measured", _table(("", ""), rows) + note)


def _is_of(report: LoadReport, key: LatencyName) -> bool:
    """Whether there is such a latency: vectors and scores come at once."""
    return report.generates or key not in STREAMED


def _bounds(objectives: Objectives, key: LatencyName) -> list[tuple[Percentile, float]]:
    """(percentile, milliseconds) of the objectives on one latency."""
    return [(percentile, bound * 1000) for name, percentile, bound in objectives.latencies() if name == key]


def _ms(value: float | None) -> str:
    return "-" if value is None else number(value)


def _section(title: str, body: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{body}</section>"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of cells that are HTML already, escaped where the row was made."""
    lines = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    names = "".join(f"<th>{escape(name)}</th>" for name in head)
    top = f"<thead><tr>{names}</tr></thead>" if any(head) else ""
    return f'<div class="scroll"><table>{top}<tbody>{lines}</tbody></table></div>'
