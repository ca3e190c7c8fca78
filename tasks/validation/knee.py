"""Search for the knee, the highest rate at which the objectives hold: choose the next rate, judge the rates tried. Pure.

Double (or halve) the model's own rate until one rate holds and the next does not, bisect between them on a logarithmic scale,
then try the highest that held once more. Contradictions are not averaged: the knee is refused with the reason.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from tasks.records.reports import SweepStep

FACTOR = 2.0
TOLERANCE = 1.15  # lowest rate that broke / highest that held, at which the search ends
MOST_STEPS = 14
HEADROOM = 0.8  # share of the knee's concurrency: a new replica takes minutes to come
FALLS = 0.8  # fewer requests under way than this share of those at a lower rate: the figures contradict each other


@dataclass(frozen=True)
class Limits:
    """Requests a second that may be tried."""

    lowest: float
    highest: float


@dataclass(frozen=True)
class Knee:
    """`rate`: requests a second; `step`: the step that held at it."""

    rate: float
    step: SweepStep


@dataclass(frozen=True)
class Refused:
    """Why there is no knee."""

    why: str


def next_rate(steps: Sequence[SweepStep], start: float, limits: Limits) -> float | None:
    """The rate to try next; None when the search is over."""
    if not steps:
        return min(max(start, limits.lowest), limits.highest)
    if len(steps) >= MOST_STEPS or contradiction(steps):
        return None
    held, broke = bracket(steps)
    if any(step.verdict == "INCONCLUSIVE" for step in steps):
        return None  # the generator is at its limit: higher rates say less
    if broke is None:
        assert held is not None  # noqa: S101  each step held or broke
        return min(held * FACTOR, limits.highest) if held < limits.highest else None
    if held is None:
        return max(broke / FACTOR, limits.lowest) if broke > limits.lowest else None
    if broke / held > TOLERANCE:
        return math.sqrt(held * broke)
    tried = sum(step.rate == held for step in steps)
    return held if tried < 2 else None  # once may be chance


def bracket(steps: Sequence[SweepStep]) -> tuple[float | None, float | None]:
    """(highest rate that held, lowest that did not)."""
    held = max((step.rate for step in steps if step.verdict == "PASS"), default=None)
    broke = min((step.rate for step in steps if step.verdict == "FAIL"), default=None)
    return held, broke


def contradiction(steps: Sequence[SweepStep]) -> str | None:
    """A rate that broke below, or at, one that held; None where there is none."""
    for worse in steps:
        for better in steps:
            if worse.verdict == "FAIL" and better.verdict == "PASS" and worse.rate <= better.rate:
                how = "the same rate" if worse.rate == better.rate else f"{better.rate:.3g}/s"
                return f"the objectives broke at {worse.rate:.3g}/s and held at {how} ({worse.reason})"
    return None


def find(steps: Sequence[SweepStep], replicas: tuple[int, int]) -> Knee | Refused:
    """The knee, or why there is none. `replicas`: how many served before and after, which must be equal."""
    if replicas[0] != replicas[1]:
        return Refused(
            f"replicas went from {replicas[0]} to {replicas[1]} meanwhile: the rates belong to neither number"
        )
    if not steps:
        return Refused("no step was made")
    if noise := contradiction(steps):
        return Refused(f"the figures contradict each other: {noise}")
    held, broke = bracket(steps)
    unclear = next((step for step in steps if step.verdict == "INCONCLUSIVE"), None)
    if unclear is not None and (broke is None or unclear.rate <= broke):
        return Refused(f"inconclusive at {unclear.rate:.3g}/s: {unclear.reason}")
    if held is None:
        return Refused(f"the objectives broke at every rate, down to {broke:.3g}/s")
    if broke is None:
        return Refused(f"the objectives held at every rate: the knee is above {held:.3g}/s")
    if broke / held > TOLERANCE:
        return Refused(f"too few steps: it lies somewhere between {held:.3g}/s and {broke:.3g}/s")
    tries = [step for step in steps if step.rate == held]
    if len(tries) < 2:
        return Refused(f"{held:.3g}/s held once, and was not tried again")
    ordered = sorted((s for s in steps if s.verdict == "PASS"), key=lambda step: step.rate)
    for lower, higher in pairwise(ordered):
        if higher.in_flight < FALLS * lower.in_flight:
            return Refused(
                f"fewer requests were under way at {higher.rate:.3g}/s ({higher.in_flight:.3g}) than at "
                f"{lower.rate:.3g}/s ({lower.in_flight:.3g}): something else than the rate changed"
            )
    return Knee(held, max(tries, key=lambda step: step.in_flight))


def proposals(knee: Knee, replicas: int) -> tuple[int, int, str]:
    """(requests_per_replica, max_num_seqs, why) for one replica, from the requests under way at the knee."""
    each = knee.step.in_flight / replicas
    target = max(1, math.floor(HEADROOM * each))
    most = math.ceil((each + 2 * math.sqrt(each)) / 8) * 8
    why = (
        f"Little's law: at {knee.rate:.3g} requests a second, {knee.step.in_flight:.1f} are under way on average "
        f"(rate x time each takes), {each:.1f} a replica. requests_per_replica {target}: {HEADROOM:.0%} of that, since "
        f"a new replica takes time to come. max_num_seqs {most}: that and two standard deviations of a Poisson count, "
        f"in eights; what exceeds it waits rather than slowing down every answer."
    )
    return target, most, why
