"""The interval of a slowdown from pairs of times, looked at up to three times as pairs come in. Pure; the standard library alone.

Figures are log ratios, so a slower machine or a longer prompt is in both of a pair and cancels. The estimate is Hodges and Lehmann's, the
median of all means of two ratios, and the interval is the one that Wilcoxon's signed-rank test does not reject (Hollander, Wolfe, Chicken:
Nonparametric Statistical Methods, 3rd ed., 3.2 and 3.4): a few answers that took ten times as long move neither.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

# looks at as many pairs as are asked for, twice and four times as many: as long as the limit lies within the interval
FACTORS = (1, 2, 4)
# of all looks together: of the same release one in a hundred is called slower, where nothing slower is allowed
ONE_SIDED = 0.01
STEPS = 40  # of a bisection: the interval's ends are exact to a millionth of a millionth


@dataclass(frozen=True)
class Interval:
    """Shares of the old release's time."""

    estimate: float
    low: float
    high: float

    def settles(self, limit: float) -> bool:
        """Whether more pairs would change nothing: the limit is outside of it."""
        return self.low > limit or self.high <= limit


def interval_of(before: Sequence[float], now: Sequence[float]) -> Interval | None:
    """By how much `now` takes longer, pair by pair; None where so few pairs have no interval. Seconds, all above 0."""
    ratios = sorted(math.log(new / old) for old, new in zip(before, now, strict=True))
    count = len(ratios)
    # normal approximation of the signed-rank statistic, exact to less than 1 % from 40 pairs on
    z = statistics.NormalDist().inv_cdf(1 - ONE_SIDED / len(FACTORS))
    rank = math.floor(count * (count + 1) / 4 - z * math.sqrt(count * (count + 1) * (2 * count + 1) / 24))
    if rank < 1:
        return None
    means = count * (count + 1) // 2
    middle = (_mean_of_rank(ratios, (means + 1) // 2) + _mean_of_rank(ratios, means // 2 + 1)) / 2
    return Interval(
        estimate=math.expm1(middle),
        low=math.expm1(_mean_of_rank(ratios, rank)),
        high=math.expm1(_mean_of_rank(ratios, means + 1 - rank)),
    )


def _mean_of_rank(ratios: Sequence[float], rank: int) -> float:
    """The mean of two (or of one with itself) that is `rank`th of all by size, without making them all; `ratios` are sorted."""
    low, high = ratios[0], ratios[-1]
    for _ in range(STEPS):
        middle = (low + high) / 2
        if _means_up_to(ratios, middle) >= rank:
            high = middle
        else:
            low = middle
    return high


def _means_up_to(ratios: Sequence[float], bound: float) -> int:
    """How many means of two, or of one with itself, are not above `bound`."""
    found, other = 0, len(ratios) - 1
    for index, ratio in enumerate(ratios):
        while other >= index and (ratio + ratios[other]) / 2 > bound:
            other -= 1
        if other < index:
            break
        found += other - index + 1
    return found
