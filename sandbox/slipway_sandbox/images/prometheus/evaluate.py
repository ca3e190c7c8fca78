"""Evaluate a parsed query at one time or at every step of a range. Times are seconds since 1970."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from promql_parser import (
    AggModifierType,
    AggregateExpr,
    BinaryExpr,
    Call,
    Expr,
    LabelModifierType,
    MatrixSelector,
    NumberLiteral,
    ParenExpr,
    StringLiteral,
    UnaryExpr,
    VectorSelector,
)

from slipway_sandbox.images.prometheus import functions
from slipway_sandbox.images.prometheus.promql import COMPARISONS, RANGE, SETS, matchers_of, type_of
from slipway_sandbox.images.prometheus.storage import Labels, Series, Storage

SAMPLE_LIMIT = 50_000_000  # samples one query may load, Prometheus's own default
_NOTHING = "__name__"


class QueryError(Exception):
    """A valid query that cannot be evaluated (422 execution)."""


@dataclass(frozen=True)
class Point:
    labels: Mapping[str, str]
    value: float
    time: float  # of the sample itself; only timestamp() looks at it


@dataclass(frozen=True)
class Window:
    """One series of a range vector: its samples in (start, end]."""

    labels: Mapping[str, str]
    samples: list[functions.Sample]
    start: float
    end: float


Vector = list[Point]
Value = float | str | Vector | list[Window]


def key(labels: Mapping[str, str]) -> Labels:
    return tuple(sorted(labels.items()))


def instant(storage: Storage, node: Expr, time: float) -> Value:
    """Evaluate a query at `time`. Raises QueryError."""
    value = _Evaluation(storage, time).value(node)
    if isinstance(value, list) and type_of(node) != RANGE:
        _refuse_duplicates(cast(Vector, value))
    return value


def over_range(
    storage: Storage, node: Expr, start: float, end: float, step: float
) -> list[tuple[Mapping[str, str], list[functions.Sample]]]:
    """Evaluate a query at start, start + step, … end. Raises QueryError."""
    series: dict[Labels, tuple[Mapping[str, str], list[functions.Sample]]] = {}
    for number in range(math.floor((end - start) / step + 1e-9) + 1):
        time = start + number * step
        value = instant(storage, node, time)
        points = [Point({}, value, time)] if isinstance(value, float) else cast(Vector, value)
        for point in points:
            entry = series.setdefault(key(point.labels), (point.labels, []))
            entry[1].append((time, point.value))
    return [series[labels] for labels in sorted(series)]


class _Evaluation:
    """Evaluates one query at one time."""

    def __init__(self, storage: Storage, time: float) -> None:
        self._storage, self._time = storage, time
        self._loaded = 0

    def value(self, node: Expr) -> Value:
        match node:
            case NumberLiteral() | StringLiteral():
                return node.val
            case ParenExpr():
                return self.value(node.expr)
            case VectorSelector():
                return self._points(node)
            case MatrixSelector():
                return self._windows(node)
            case UnaryExpr():
                inner = self.value(node.expr)
                if isinstance(inner, float):
                    return -inner
                return [Point(_unnamed(p.labels), -p.value, self._time) for p in cast(Vector, inner)]
            case AggregateExpr():
                return self._aggregate(node)
            case Call():
                return self._call(node)
            case BinaryExpr():
                return self._binary(node)
            case _:
                raise QueryError(f"{type(node).__name__} is not evaluated by this server")

    def _load(self, count: int) -> None:
        self._loaded += count
        if self._loaded > SAMPLE_LIMIT:
            raise QueryError("query processing would load too many samples into memory in query execution")

    def _points(self, node: VectorSelector) -> Vector:
        found = [(series, series.at(self._time)) for series in self._storage.select(matchers_of(node))]
        points = [Point(series.labels, at[1], at[0]) for series, at in found if at is not None]
        self._load(len(points))
        return points

    def _windows(self, node: MatrixSelector) -> list[Window]:
        start = self._time - node.range.total_seconds()
        matchers = matchers_of(node.vector_selector)

        def window(series: Series) -> Window:
            return Window(series.labels, series.within(start, self._time), start, self._time)

        windows = [found for found in map(window, self._storage.select(matchers)) if found.samples]
        self._load(sum(len(found.samples) for found in windows))
        return windows

    def _aggregate(self, node: AggregateExpr) -> Vector:
        names = node.modifier.labels if node.modifier else []
        without = node.modifier is not None and node.modifier.type == AggModifierType.Without
        groups: dict[Labels, list[float]] = {}
        for point in cast(Vector, self.value(node.expr)):
            if without:
                kept = {k: v for k, v in point.labels.items() if k not in names and k != _NOTHING}
            else:
                kept = {k: point.labels[k] for k in names if k in point.labels}
            groups.setdefault(key(kept), []).append(point.value)
        fold: dict[str, Callable[[Sequence[float]], float]] = {
            "sum": functions.total,
            "avg": lambda values: functions.total(values) / len(values),
            "max": functions.largest,
            "min": functions.smallest,
            "count": lambda values: float(len(values)),
        }
        return [
            Point(dict(labels), fold[str(node.op)](values), self._time) for labels, values in groups.items()
        ]

    def _call(self, node: Call) -> Value:
        name = node.func.name
        args = [self.value(arg) for arg in node.args]
        match name:
            case "time":
                return self._time
            case "vector":
                return [Point({}, cast(float, args[0]), self._time)]
            case "scalar":
                points = cast(Vector, args[0])
                return points[0].value if len(points) == 1 else math.nan
            case "absent" | "absent_over_time":
                if args[0]:
                    return []
                return [Point(_named_by(node.args[0]), 1.0, self._time)]
            case "histogram_quantile":
                return self._histogram_quantile(cast(float, args[0]), cast(Vector, args[1]))
            case "quantile_over_time":
                q = cast(float, args[0])
                return self._each_window(
                    cast(list[Window], args[1]),
                    lambda window: functions.quantile(q, [value for _, value in window.samples]),
                )
            case _ if isinstance(args[0], list) and type_of(node.args[0]) == RANGE:
                return self._over(name, cast(list[Window], args[0]))
            case _:
                return self._simple(name, cast(Vector, args[0]), [cast(float, arg) for arg in args[1:]])

    def _over(self, name: str, windows: list[Window]) -> Vector:
        def value(window: Window) -> float | None:
            if name in ("rate", "increase", "delta"):
                grown = functions.extrapolated(
                    window.samples, window.start, window.end, counter=name != "delta"
                )
                if grown is not None and name == "rate":
                    grown /= window.end - window.start
                return grown
            if name == "irate":
                return functions.instant_rate(window.samples)
            return functions.OVER_TIME[name]([sample for _, sample in window.samples])

        return self._each_window(windows, value, keep_name=name == "last_over_time")

    def _each_window(
        self,
        windows: list[Window],
        value: Callable[[Window], float | None],
        keep_name: bool = False,
    ) -> Vector:
        results = [(window, value(window)) for window in windows]
        return [
            Point(window.labels if keep_name else _unnamed(window.labels), result, self._time)
            for window, result in results
            if result is not None
        ]

    def _simple(self, name: str, points: Vector, more: list[float]) -> Vector:
        def value(point: Point) -> float:
            match name:
                case "abs":
                    return abs(point.value)
                case "ceil" | "floor" if not math.isfinite(point.value):
                    return point.value
                case "ceil":
                    return float(math.ceil(point.value))
                case "floor":
                    return float(math.floor(point.value))
                case "round":
                    return functions.nearest(point.value, more[0] if more else 1.0)
                case "clamp_min":
                    return max(point.value, more[0]) if point.value == point.value else point.value
                case "clamp_max":
                    return min(point.value, more[0]) if point.value == point.value else point.value
                case "timestamp":
                    return point.time
                case _:
                    raise QueryError(f"function {name} is not implemented")

        return [Point(_unnamed(point.labels), value(point), self._time) for point in points]

    def _histogram_quantile(self, q: float, points: Vector) -> Vector:
        groups: dict[Labels, list[tuple[float, float]]] = {}
        for point in points:
            try:
                bound = float(point.labels["le"])
            except (KeyError, ValueError):
                continue  # as in Prometheus: what has no bound is no bucket
            rest = {k: v for k, v in point.labels.items() if k not in ("le", _NOTHING)}
            groups.setdefault(key(rest), []).append((bound, point.value))
        return [
            Point(dict(labels), functions.bucket_quantile(q, buckets), self._time)
            for labels, buckets in groups.items()
        ]

    def _binary(self, node: BinaryExpr) -> Value:
        left, right = self.value(node.lhs), self.value(node.rhs)
        if isinstance(left, float) and isinstance(right, float):
            return float(_apply(str(node.op), left, right))
        if isinstance(left, list) and isinstance(right, list):
            ours, theirs = cast(Vector, left), cast(Vector, right)
            if str(node.op) in SETS:
                return self._set(node, ours, theirs)
            return self._pairs(node, ours, theirs)
        return self._with_scalar(node, left, right)

    def _with_scalar(self, node: BinaryExpr, left: Value, right: Value) -> Vector:
        points = cast(Vector, left if isinstance(left, list) else right)
        result = []
        for point in points:
            a = point.value if isinstance(left, list) else cast(float, left)
            b = cast(float, right) if isinstance(left, list) else point.value
            result.extend(self._result(node, point, _apply(str(node.op), a, b), point.value))
        return result

    def _result(self, node: BinaryExpr, point: Point, value: float | bool, kept: float) -> Vector:
        """A filtering comparison keeps the sample; every other operation makes a new one."""
        if _filters(node):
            return [Point(point.labels, kept, self._time)] if value else []
        return [Point(_unnamed(point.labels), float(value), self._time)]

    def _pairs(self, node: BinaryExpr, left: Vector, right: Vector) -> Vector:
        signature = _signature(node)
        others: dict[Labels, Point] = {}
        for point in right:
            mark = signature(point.labels)
            if mark in others:
                raise QueryError(
                    f"found duplicate series for the match group {_braces(dict(mark))} on the right hand-side"
                    " of the operation;many-to-many matching not allowed: matching labels must be unique on"
                    " one side"
                )
            others[mark] = point
        result: Vector = []
        seen: set[Labels] = set()
        for point in left:
            mark = signature(point.labels)
            if mark not in others:
                continue
            value = _apply(str(node.op), point.value, others[mark].value)
            made = self._result(node, point, value, point.value)
            if made and mark in seen:
                raise QueryError(
                    "multiple matches for labels: many-to-one matching must be explicit"
                    " (group_left/group_right)"
                )
            if made:
                seen.add(mark)
            result.extend(Point(_matched_labels(node, each.labels), each.value, each.time) for each in made)
        return result

    @staticmethod
    def _set(node: BinaryExpr, left: Vector, right: Vector) -> Vector:
        signature = _signature(node)
        if str(node.op) == "or":
            ours = {signature(point.labels) for point in left}
            return left + [point for point in right if signature(point.labels) not in ours]
        theirs = {signature(point.labels) for point in right}
        wanted = str(node.op) == "and"
        return [point for point in left if (signature(point.labels) in theirs) == wanted]


def _filters(node: BinaryExpr) -> bool:
    """A comparison without `bool` keeps the samples for which it holds."""
    return str(node.op) in COMPARISONS and not (node.modifier and node.modifier.return_bool)


def _matching(node: BinaryExpr) -> tuple[bool, list[str]]:
    """Vector matching: (True, labels) for `on`, (False, labels) for `ignoring` or none."""
    matching = node.modifier.matching if node.modifier else None
    if matching is None:
        return False, []
    return matching.type == LabelModifierType.Include, matching.labels


def _signature(node: BinaryExpr) -> Callable[[Mapping[str, str]], Labels]:
    on, names = _matching(node)
    if on:
        return lambda labels: tuple(sorted((name, labels.get(name, "")) for name in names))
    hidden = {*names, _NOTHING}
    return lambda labels: tuple(sorted(pair for pair in labels.items() if pair[0] not in hidden))


def _matched_labels(node: BinaryExpr, labels: Mapping[str, str]) -> Mapping[str, str]:
    """Result labels of one-to-one matching; a filtering comparison keeps the metric name."""
    on, names = _matching(node)
    kept = {*names, *({_NOTHING} if _filters(node) else ())}
    if on:
        return {k: v for k, v in labels.items() if k in kept}
    return {k: v for k, v in labels.items() if k not in names}


def _apply(op: str, a: float, b: float) -> float | bool:
    match op:
        case "+":
            return a + b
        case "-":
            return a - b
        case "*":
            return a * b
        case "/":
            return _divide(a, b)
        case "%":
            return math.fmod(a, b) if b and math.isfinite(a) and not math.isnan(b) else math.nan
        case "^":
            return _power(a, b)
        case "==":
            return a == b
        case "!=":
            return a != b
        case ">":
            return a > b
        case "<":
            return a < b
        case ">=":
            return a >= b
        case "<=":
            return a <= b
        case _:
            raise QueryError(f"operator {op} is not implemented")


def _divide(a: float, b: float) -> float:
    if b:
        return a / b
    if a == 0 or math.isnan(a):
        return math.nan
    return math.copysign(math.inf, a) * math.copysign(1.0, b)


def _power(a: float, b: float) -> float:
    try:
        return math.pow(a, b)
    except ValueError:
        return math.inf if a == 0 else math.nan
    except OverflowError:
        return math.inf


def _unnamed(labels: Mapping[str, str]) -> Mapping[str, str]:
    return {name: value for name, value in labels.items() if name != _NOTHING}


def _named_by(node: Expr) -> Mapping[str, str]:
    """Labels of absent()'s result: the selector's equality matchers."""
    if isinstance(node, MatrixSelector):
        return _named_by(node.vector_selector)
    if not isinstance(node, VectorSelector):
        return {}
    matchers = matchers_of(node)
    equal = [(m.label, m.value) for m in matchers if m.op == "=" and m.label != _NOTHING]
    names = [m.label for m in matchers]
    return {name: value for name, value in equal if value and names.count(name) == 1}


def _refuse_duplicates(points: Vector) -> None:
    seen = set()
    for point in points:
        mark = key(point.labels)
        if mark in seen:
            raise QueryError("vector cannot contain metrics with the same labelset")
        seen.add(mark)


def _braces(labels: Mapping[str, str]) -> str:
    return "{" + ", ".join(f'{name}="{value}"' for name, value in sorted(labels.items())) + "}"
