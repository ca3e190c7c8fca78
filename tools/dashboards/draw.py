"""Draw a dashboard's panels as a page, from what its queries returned. Not Grafana's drawing: see docs/watching.md. Pure."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Mapping, Sequence

from tools.dashboards.evaluate import Line
from tools.dashboards.grafana import COLUMNS, WIDTH, Dashboard, Panel, Unit
from tools.dashboards.series import SECONDS

COLOURS = ("#7eb26d", "#eab839", "#6ed0e0", "#ef843c", "#e24d42", "#1f78c1", "#ba43a9", "#705da0")
WIDE, HIGH, LEFT, RIGHT, TOP, BOTTOM = 420, 190, 52, 18, 10, 24
STYLE = (
    "body{margin:0;padding:14px;background:#111217;color:#ccccdc;font:12px sans-serif;width:1332px}"
    "h1{font-size:17px;margin:0 0 10px}main{display:grid;grid-template-columns:repeat(3,1fr);gap:8px}"
    "section{background:#181b1f;border:1px solid #2c3235;border-radius:3px;padding:8px}"
    "h2{font-size:12px;margin:0 0 4px}p{margin:2px 0;font-size:11px;line-height:1.3}"
    "b{display:inline-block;width:10px;height:3px;margin-right:5px;vertical-align:middle}"
    ".stat{font-size:54px;text-align:center;padding:52px 0;color:#7eb26d}"
)
SUFFIX: Mapping[Unit, str] = {
    "s": " s", "percent": " %", "mbytes": " MiB", "watt": " W", "celsius": " °C", "reqpm": " /min",
}  # fmt: skip


def page(dashboard: Dashboard, found: Sequence[Sequence[tuple[str, Line]]]) -> str:
    """HTML of the panels. `found`: of each panel its lines, with their legends."""
    panels = "".join(_section(*each) for each in zip(dashboard.panels, found, strict=True))
    title = html.escape(f"Slipway / {dashboard.title}")
    return f'<!doctype html><meta charset="utf-8"><style>{STYLE}</style><h1>{title}</h1><main>{panels}</main>'


def size(dashboard: Dashboard) -> tuple[int, int]:
    """Width and height of the page in CSS pixels."""
    rows = math.ceil(len(dashboard.panels) / (COLUMNS // WIDTH))
    return 1360, 50 + rows * 290


def legend(template: str, labels: Mapping[str, str]) -> str:
    """A legend with the series' labels in it."""
    return re.sub(r"{{(\w+)}}", lambda match: labels.get(match[1], ""), template).strip()


def _section(panel: Panel, lines: Sequence[tuple[str, Line]]) -> str:
    title = html.escape(panel.title)
    if panel.kind == "stat":
        last = lines[0][1].points[-1][1] if lines else 0
        return f'<section><h2>{title}</h2><div class="stat">{last:g}</div></section>'
    names = "".join(
        f'<p><b style="background:{COLOURS[number % len(COLOURS)]}"></b>{html.escape(name)}</p>'
        for number, (name, _) in enumerate(lines[:6])
    )
    return f"<section><h2>{title}</h2>{_chart(panel, [line for _, line in lines])}{names}</section>"


def _chart(panel: Panel, lines: Sequence[Line]) -> str:
    drawn = [[(t, v) for t, v in line.points if math.isfinite(v)] for line in lines]
    if panel.stacked:
        drawn = _stacked(drawn)
    top = max((value for points in drawn for _, value in points), default=0.0) * 1.08 or 1.0

    def at(t: float, value: float) -> str:
        x = LEFT + t / SECONDS * (WIDE - LEFT - RIGHT)
        return f"{x:.1f},{TOP + (1 - value / top) * (HIGH - TOP - BOTTOM):.1f}"

    parts = []
    for share in (0.0, 0.5, 1.0):
        y = TOP + (1 - share) * (HIGH - TOP - BOTTOM)
        parts.append(f'<line x1="{LEFT}" x2="{WIDE - RIGHT}" y1="{y}" y2="{y}" stroke="#2c3235"/>')
        parts.append(
            f'<text x="{LEFT - 5}" y="{y + 4}" text-anchor="end" fill="#8e8e8e" font-size="10">{_shown(top * share, panel.unit)}</text>'
        )
    for hours in range(SECONDS // 3600 + 1):
        x = LEFT + hours * 3600 / SECONDS * (WIDE - LEFT - RIGHT)
        parts.append(
            f'<text x="{x}" y="{HIGH - 6}" text-anchor="middle" fill="#8e8e8e" font-size="10">{hours:02d}:00</text>'
        )
    for number, points in enumerate(drawn):
        colour = COLOURS[number % len(COLOURS)]
        for piece in _unbroken(points):
            path = " ".join(at(t, value) for t, value in piece)
            parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
    return f'<svg width="{WIDE}" height="{HIGH}">{"".join(parts)}</svg>'


def _stacked(lines: Sequence[Sequence[tuple[float, float]]]) -> list[list[tuple[float, float]]]:
    below: dict[float, float] = {}
    found = []
    for points in lines:
        found.append([(t, value + below.get(t, 0.0)) for t, value in points])
        below |= dict(found[-1])
    return found


def _unbroken(points: Sequence[tuple[float, float]]) -> list[list[tuple[float, float]]]:
    """Pieces without a missing point: one that is missing is no zero."""
    pieces: list[list[tuple[float, float]]] = []
    for point in points:
        if not pieces or point[0] - pieces[-1][-1][0] > 90:
            pieces.append([])
        pieces[-1].append(point)
    return pieces


def _shown(value: float, unit: Unit) -> str:
    if unit == "percentunit":
        return f"{value * 100:.3g} %"
    if unit == "short" and value >= 10_000:
        return f"{value / 1000:.3g}k"
    return f"{value:.3g}{SUFFIX.get(unit, '')}"
