"""What to do for the requests that wait for a model, and how many of them may go on. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

# share of the proven rate that a ramp begins with
FIRST_SHARE = 0.25
# Retry-After where no earlier start says how long one takes, in seconds
UNKNOWN_SECONDS = 30


class Action(Enum):
    """What the holder does next for one model."""

    RELEASE = "requests go on to its pods"
    WAKE = "ask for replicas"
    WAIT = "somebody has asked for replicas: wait"
    REFUSE = "there is nothing to wake"


@dataclass(frozen=True)
class Seen:
    """A model as it is in the cluster.

    Args:
        ready: addresses of its ready pods.
        replicas: that its Deployment asks for; None where there is no Deployment.
    """

    ready: Sequence[str] = ()
    replicas: int | None = None


def decide(seen: Seen) -> Action:
    """What to do while a request waits. Asked again at every look: a wake that went under is asked for once more."""
    if seen.ready:
        return Action.RELEASE
    if seen.replicas is None:
        return Action.REFUSE
    return Action.WAIT if seen.replicas else Action.WAKE


def allowed(elapsed: float, rate: float | None, ramp: float) -> float:
    """Requests that may have gone on `elapsed` seconds after the model became ready.

    One at once; then the rate rises evenly from FIRST_SHARE of `rate` to all of it within `ramp` seconds, and stays there.
    Without a rate there is no such bound.
    """
    if rate is None:
        return math.inf
    rising = min(elapsed, ramp)
    share = FIRST_SHARE * rising + (1 - FIRST_SHARE) * rising**2 / (2 * ramp) if ramp else 0.0
    return 1 + rate * (share + max(0.0, elapsed - ramp))


def seconds_left(expected: float | None, woken: float | None, now: float) -> int | None:
    """Seconds until the model answers, by what earlier starts took; None where none says it, or it is over already."""
    if expected is None:
        return None
    left = math.ceil(expected - (now - woken if woken is not None else 0.0))
    return left if left > 0 else None
