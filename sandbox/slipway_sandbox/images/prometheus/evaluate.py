"""Evaluate a parsed query at one time. Times are seconds since 1970."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import cast

from promql_parser import (
    AggregateExpr,
    BinaryExpr,
    Call,
    Expr,
    MatrixSelector,
    NumberLiteral,
    ParenExpr,
    VectorSelector,
)

from slipway_sandbox.images.prometheus.promql import matchers_of
from slipway_sandbox.images.prometheus.storage import Labels, Series, Storage

SAMPLE_LIMIT = 50_000_000  # samples one query may load, Prometheus's own default
_NAME = "__name__"
_COMBINE: Mapping[str, Callable[[float, float], float]] = {"+": operator.add, "*": operator.mul}


class QueryError(Exception):
    """A valid query that cannot be evaluated (422 execution)."""


@dataclass(frozen=True)
class Point:
    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True)
class Window:
    """One series of a range vector: its samples in (start, end]."""

    labels: Mapping[str, str]
    samples: list[tuple[float, float]]


Vector = list[Point]
Value = float | Vector | list[Window]


def key(labels: Mapping[str, str]) -> Labels:
    return tuple(sorted(labels.items()))


def instant(storage: Storage, node: Expr, time: float) -> Value:
    """Evaluate a query at `time`. Raises QueryError."""
    return _Evaluation(storage, time).value(node)


class _Evaluation:
    """Evaluates one query at one time."""

    def __init__(self, storage: Storage, time: float) -> None:
        self._storage, self._time = storage, time
        self._loaded = 0

    def value(self, node: Expr) -> Value:
        match node:
            case NumberLiteral():
                return float(node.val)
            case ParenExpr():
                return self.value(node.expr)
            case VectorSelector():
                return self._points(node)
            case MatrixSelector():
                return self._windows(node)
            case AggregateExpr():
                return self._sum(node)
            case Call():  # vector(), the only function
                return [Point({}, cast(float, self.value(node.args[0])))]
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
        points = [Point(series.labels, at[1]) for series, at in found if at is not None]
        self._load(len(points))
        return points

    def _windows(self, node: MatrixSelector) -> list[Window]:
        start = self._time - node.range.total_seconds()

        def window(series: Series) -> Window:
            return Window(series.labels, series.within(start, self._time))

        selected = self._storage.select(matchers_of(node.vector_selector))
        windows = [found for found in map(window, selected) if found.samples]
        self._load(sum(len(found.samples) for found in windows))
        return windows

    def _sum(self, node: AggregateExpr) -> Vector:
        names = node.modifier.labels if node.modifier else []
        groups: dict[Labels, list[float]] = {}
        for point in cast(Vector, self.value(node.expr)):
            kept = {name: point.labels[name] for name in names if name in point.labels}
            groups.setdefault(key(kept), []).append(point.value)
        return [Point(dict(labels), math.fsum(values)) for labels, values in groups.items()]

    def _binary(self, node: BinaryExpr) -> Value:
        """Sum or product: of two numbers, of a number and each series, or of the series with the same labels."""
        combine = _COMBINE[str(node.op)]
        left, right = self.value(node.lhs), self.value(node.rhs)
        if isinstance(left, float) and isinstance(right, float):
            return combine(left, right)
        if isinstance(left, float) or isinstance(right, float):
            points, number = (right, left) if isinstance(left, float) else (left, right)
            return [
                Point(_unnamed(p.labels), combine(p.value, cast(float, number))) for p in cast(Vector, points)
            ]
        ours, theirs = _by_labels(cast(Vector, left), "left"), _by_labels(cast(Vector, right), "right")
        return [Point(dict(mark), combine(ours[mark], theirs[mark])) for mark in ours if mark in theirs]


def _by_labels(points: Vector, side: str) -> dict[Labels, float]:
    """Values of one side of an operation by the labels that are matched. Raises QueryError."""
    found: dict[Labels, float] = {}
    for point in points:
        mark = key(_unnamed(point.labels))
        if mark in found:
            raise QueryError(
                f"found duplicate series for the match group {_braces(dict(mark))} on the {side} hand-side"
                " of the operation;many-to-many matching not allowed: matching labels must be unique on one side"
            )
        found[mark] = point.value
    return found


def _unnamed(labels: Mapping[str, str]) -> Mapping[str, str]:
    return {name: value for name, value in labels.items() if name != _NAME}


def _braces(labels: Mapping[str, str]) -> str:
    return "{" + ", ".join(f'{name}="{value}"' for name, value in sorted(labels.items())) + "}"
