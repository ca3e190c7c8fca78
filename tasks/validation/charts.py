"""Draw charts as inline SVG: lines and marks on linear or logarithmic axes. Pure; every text is escaped."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

WIDTH, HEIGHT = 560, 260
LEFT, RIGHT, TOP, BOTTOM = 68, 16, 14, 40

FAR = 2.5  # times the highest value: a mark beyond is written instead of drawn

Point = tuple[float, float]


@dataclass(frozen=True)
class Line:
    """One line; `style` is its CSS class in page.css (s0 … s3)."""

    name: str
    points: Sequence[Point]
    style: str
    dots: bool = False


@dataclass(frozen=True)
class Mark:
    """A straight line at a value: an objective's bound, the knee."""

    name: str
    value: float
    upright: bool
    style: str = "bound"


@dataclass(frozen=True)
class Chart:
    """Logarithmic axes leave out values that are not above zero."""

    title: str
    x_name: str
    y_name: str
    lines: Sequence[Line]
    marks: Sequence[Mark] = field(default_factory=tuple)
    log_x: bool = False
    log_y: bool = False
    y_from_zero: bool = True
    y_top: float | None = None


def draw(chart: Chart) -> str:
    """A <figure> with its legend, or a sentence where there is nothing to draw."""
    shown = [Line(s.name, _drawable(chart, s.points), s.style, s.dots) for s in chart.lines]
    points = [point for line in shown for point in line.points]
    if not points:
        return f'<figure><figcaption>{escape(chart.title)}</figcaption><p class="quiet">Nothing was measured.</p></figure>'
    far = [mark for mark in chart.marks if _is_far(mark, points)]
    near = [mark for mark in chart.marks if mark not in far]
    xs = [x for x, _ in points] + [mark.value for mark in near if mark.upright]
    ys = [y for _, y in points] + [mark.value for mark in near if not mark.upright]
    x_axis = _Axis.over(xs, chart.log_x, LEFT, WIDTH - RIGHT)
    low = [0.0] if chart.y_from_zero and not chart.log_y else []
    top = [chart.y_top] if chart.y_top is not None else [max(ys) * 1.05]
    y_axis = _Axis.over(ys + low + top, chart.log_y, HEIGHT - BOTTOM, TOP)
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(chart.title)}">',
        *_grid(x_axis, y_axis),
        *(_line(line, x_axis, y_axis) for line in shown if line.points),
        *(_mark(mark, x_axis, y_axis, row) for row, mark in enumerate(near)),
        f'<text class="axis" x="{(LEFT + WIDTH - RIGHT) / 2:.0f}" y="{HEIGHT - 6}" text-anchor="middle">{escape(chart.x_name)}</text>',
        f'<text class="axis" transform="translate(12 {(TOP + HEIGHT - BOTTOM) / 2:.0f}) rotate(-90)" '
        f'text-anchor="middle">{escape(chart.y_name)}</text>',
        "</svg>",
    ]
    legend = "".join(f'<span class="key {s.style}">{escape(s.name)}</span>' for s in shown if s.points)
    legend += "".join(
        f"<span>{escape(mark.name)}: {number(mark.value)}, beyond the chart</span>" for mark in far
    )
    return f"<figure><figcaption>{escape(chart.title)}</figcaption>{''.join(parts)}<p class='legend'>{legend}</p></figure>"


@dataclass(frozen=True)
class _Axis:
    low: float
    high: float
    log: bool
    begin: float
    end: float

    @classmethod
    def over(cls, values: Sequence[float], log: bool, begin: float, end: float) -> _Axis:
        low, high = min(values), max(values)
        if log:
            low, high = low / 1.1, high * 1.1
        elif high <= low:
            high = low + (abs(low) or 1.0)
        return cls(low, high, log, begin, end)

    def at(self, value: float) -> float:
        if self.log:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.begin + share * (self.end - self.begin)

    def ticks(self) -> list[float]:
        """At most about eight round values."""
        if self.log:
            candidates = [
                m * 10.0**e
                for e in range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
                for m in (1, 2, 5)
            ]
            inside = [value for value in candidates if self.low <= value <= self.high]
            if len(inside) > 8:
                inside = [value for value in inside if f"{value:e}".startswith("1")]
            if len(inside) > 2:
                return inside
        rough = (self.high - self.low) / 6
        magnitude = 10.0 ** math.floor(math.log10(rough))
        step = next(m * magnitude for m in (1, 2, 5, 10) if m * magnitude >= rough)
        first = math.ceil(self.low / step)
        return [
            n * step for n in range(first, math.floor(self.high / step + 1e-9) + 1) if not self.log or n > 0
        ]


def _is_far(mark: Mark, points: Sequence[Point]) -> bool:
    """Whether a mark is so far above the values that showing it would flatten the lines."""
    return mark.value > FAR * max(x if mark.upright else y for x, y in points)


def _drawable(chart: Chart, points: Sequence[Point]) -> list[Point]:
    return [
        (x, y)
        for x, y in points
        if math.isfinite(x) and math.isfinite(y) and (x > 0 or not chart.log_x) and (y > 0 or not chart.log_y)
    ]


def _grid(x_axis: _Axis, y_axis: _Axis) -> list[str]:
    parts = []
    for value in x_axis.ticks():
        at = x_axis.at(value)
        parts.append(f'<line class="grid" x1="{at:.1f}" x2="{at:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>')
        parts.append(
            f'<text class="tick" x="{at:.1f}" y="{HEIGHT - BOTTOM + 14}" text-anchor="middle">{number(value)}</text>'
        )
    for value in y_axis.ticks():
        at = y_axis.at(value)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>')
        parts.append(
            f'<text class="tick" x="{LEFT - 6}" y="{at + 3.5:.1f}" text-anchor="end">{number(value)}</text>'
        )
    return parts


def _line(line: Line, x_axis: _Axis, y_axis: _Axis) -> str:
    spots = [(x_axis.at(x), y_axis.at(y), x, y) for x, y in line.points]
    path = " ".join(f"{'L' if n else 'M'}{x:.1f} {y:.1f}" for n, (x, y, _, _) in enumerate(spots))
    drawn = f'<path class="line {line.style}" d="{path}"/>'
    # a browser shows the title under the pointer, without a script
    drawn += "".join(
        f'<circle class="{"dot" if line.dots else "spot"} {line.style}" cx="{x:.1f}" cy="{y:.1f}" r="{3 if line.dots else 5}">'
        f"<title>{escape(line.name)}: {number(vy)} at {number(vx)}</title></circle>"
        for x, y, vx, vy in spots
    )
    return drawn


def _mark(mark: Mark, x_axis: _Axis, y_axis: _Axis, row: int) -> str:
    """Draw a mark. `row` keeps the names of neighbouring marks apart."""
    if mark.upright:
        at = x_axis.at(mark.value)
        anchor, dx = ("end", -4) if at > (LEFT + WIDTH - RIGHT) / 2 else ("start", 4)
        return (
            f'<line class="{mark.style}" x1="{at:.1f}" x2="{at:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>'
            f'<text class="note {mark.style}" x="{at + dx:.1f}" y="{TOP + 10 + 13 * row}" text-anchor="{anchor}">{escape(mark.name)}</text>'
        )
    at = y_axis.at(mark.value)
    return (
        f'<line class="{mark.style}" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>'
        f'<text class="note {mark.style}" x="{WIDTH - RIGHT - 4}" y="{at - 4:.1f}" text-anchor="end">{escape(mark.name)}</text>'
    )


def number(value: float) -> str:
    """1234.5 -> "1,234", 0.123 -> "0.123"."""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"
