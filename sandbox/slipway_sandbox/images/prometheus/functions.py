"""PromQL's functions over samples. https://prometheus.io/docs/prometheus/latest/querying/functions/

Times and durations are in seconds; a sample is (time, value).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

Sample = tuple[float, float]


def extrapolated(samples: Sequence[Sample], start: float, end: float, counter: bool) -> float | None:
    """Growth of a counter (or, for delta, a gauge) over (start, end], extrapolated as Prometheus does.

    None for fewer than two samples. After promql/functions.go, extrapolatedRate.
    """
    if len(samples) < 2:
        return None
    first, last = samples[0], samples[-1]
    growth = last[1] - first[1]
    if counter:
        for (_, before), (_, after) in itertools.pairwise(samples):
            if after < before:  # a counter reset: it restarted from 0
                growth += before
    to_start, to_end = first[0] - start, end - last[0]
    sampled = last[0] - first[0]
    between = sampled / (len(samples) - 1)
    # A series that seems to begin or end inside the range is extrapolated by half a step only.
    threshold = between * 1.1
    if to_start >= threshold:
        to_start = between / 2
    if counter and growth > 0 and first[1] >= 0:
        to_start = min(to_start, sampled * first[1] / growth)  # a counter is never negative
    if to_end >= threshold:
        to_end = between / 2
    return growth * (sampled + to_start + to_end) / sampled


def instant_rate(samples: Sequence[Sample]) -> float | None:
    """Growth per second between the last two samples."""
    if len(samples) < 2:
        return None
    (before, old), (after, new) = samples[-2:]
    return (new if new < old else new - old) / (after - before)


def changes(values: Sequence[float]) -> float:
    pairs = itertools.pairwise(values)
    return float(sum(a != b and not (math.isnan(a) and math.isnan(b)) for a, b in pairs))


def resets(values: Sequence[float]) -> float:
    return float(sum(after < before for before, after in itertools.pairwise(values)))


def largest(values: Sequence[float]) -> float:
    """The maximum, which is NaN only when every value is."""
    return max((v for v in values if not math.isnan(v)), default=math.nan)


def smallest(values: Sequence[float]) -> float:
    return min((v for v in values if not math.isnan(v)), default=math.nan)


def total(values: Sequence[float]) -> float:
    try:
        return math.fsum(values)
    except (OverflowError, ValueError):  # infinities of both signs, or overflow
        return sum(values)


def quantile(q: float, values: Sequence[float]) -> float:
    """The q-quantile, linear between the two nearest ranks."""
    if not values or math.isnan(q):
        return math.nan
    if not 0 <= q <= 1:
        return math.copysign(math.inf, q)
    ordered = sorted(values, key=lambda v: (not math.isnan(v), v))
    rank = q * (len(ordered) - 1)
    low = math.floor(rank)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (rank - low)


OVER_TIME: dict[str, Callable[[Sequence[float]], float]] = {
    "avg_over_time": lambda values: total(values) / len(values),
    "min_over_time": smallest,
    "max_over_time": largest,
    "sum_over_time": total,
    "count_over_time": lambda values: float(len(values)),
    "last_over_time": lambda values: values[-1],
    "present_over_time": lambda values: 1.0,
    "changes": changes,
    "resets": resets,
}


def bucket_quantile(q: float, buckets: Sequence[tuple[float, float]]) -> float:
    """The q-quantile of cumulative (upper bound, count) buckets, linear inside one. After promql/quantile.go."""
    if math.isnan(q):
        return math.nan
    if not 0 <= q <= 1:
        return math.copysign(math.inf, q)
    ordered: list[tuple[float, float]] = []
    for bound, count in sorted(buckets):
        highest = ordered[-1][1] if ordered else -math.inf
        count = max(count, highest)  # scrapes of one histogram are not atomic: counts must not fall
        if ordered and ordered[-1][0] == bound:
            ordered.pop()
        ordered.append((bound, count))
    if len(ordered) < 2 or not math.isinf(ordered[-1][0]) or not ordered[-1][1] > 0:
        return math.nan
    rank = q * ordered[-1][1]
    index = next(i for i, (_, count) in enumerate(ordered) if count >= rank)
    if index == len(ordered) - 1:
        return ordered[-2][0]
    bound, count = ordered[index]
    if index == 0 and bound <= 0:
        return bound
    lower, below = ordered[index - 1] if index else (0.0, 0.0)
    if count == below:
        return bound
    return lower + (bound - lower) * (rank - below) / (count - below)


def nearest(value: float, step: float) -> float:
    """`value` rounded to a multiple of `step`, halves upward."""
    return math.floor(value / step + 0.5) * step if math.isfinite(value) else value
