"""Decide whether a new release answers slower than the old one, from pairs of the same prompt. Pure.

Figures are log ratios, so a slower machine or a longer prompt is in both of a pair and cancels. The estimate is Hodges and Lehmann's, the
median of all means of two ratios, and the interval is the one that Wilcoxon's signed-rank test does not reject (Hollander, Wolfe, Chicken:
Nonparametric Statistical Methods, 3rd ed., 3.2 and 3.4): a few answers that took ten times as long move neither.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Literal

from tasks.records.pairs import PairSettings, Shift

ONE_SIDED = 0.01  # of the same release one in a hundred is called slower, where nothing slower is allowed
Verdict = Literal["PASS", "FAIL", "INCONCLUSIVE"]


def shift_of(before: Sequence[float], now: Sequence[float]) -> Shift | None:
    """By how much `now` takes longer, pair by pair; None where so few pairs have no interval. Seconds, all above 0."""
    ratios = [math.log(new / old) for old, new in zip(before, now, strict=True)]
    count = len(ratios)
    # normal approximation of the signed-rank statistic, exact to less than 1 % from 40 pairs on
    z = statistics.NormalDist().inv_cdf(1 - ONE_SIDED)
    rank = math.floor(count * (count + 1) / 4 - z * math.sqrt(count * (count + 1) * (2 * count + 1) / 24))
    if rank < 1:
        return None
    means = sorted((one + other) / 2 for n, one in enumerate(ratios) for other in ratios[n:])
    return Shift(
        estimate=math.expm1(statistics.median(means)),
        low=math.expm1(means[rank - 1]),
        high=math.expm1(means[-rank]),
        pairs=count,
    )


def judge(shift: Shift | None, settings: PairSettings, release: str) -> tuple[Verdict, str]:
    """Slower only where the whole interval is beyond the limit; undecided where the interval says less than the limit."""
    if shift is None:
        return "INCONCLUSIVE", "too few pairs were answered to tell how fast the releases are"
    told = f"answers take {shift} longer than those of release {release}"
    if shift.low > settings.slower:
        return "FAIL", f"{told}; {settings.slower:.1%} is allowed"
    if shift.high > settings.slower and (shift.high - shift.low) / 2 > max(settings.slower, 0.01):
        return (
            "INCONCLUSIVE",
            f"{told}: too uncertain for a limit of {settings.slower:.1%}, a larger rollout.pairs.count would tell",
        )
    return "PASS", told
