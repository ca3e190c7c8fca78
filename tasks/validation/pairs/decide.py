"""Decide whether a new release answers slower than the old one, from pairs of the same prompt. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from tasks.records.pairs import PairSettings, Shift
from tasks.validation.pairs.interval import interval_of

Verdict = Literal["PASS", "FAIL", "INCONCLUSIVE"]


def shift_of(before: Sequence[float], now: Sequence[float]) -> Shift | None:
    """By how much `now` takes longer, pair by pair; None where so few pairs have no interval. Seconds, all above 0."""
    found = interval_of(before, now)
    if found is None:
        return None
    return Shift(estimate=found.estimate, low=found.low, high=found.high, pairs=len(before))


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
