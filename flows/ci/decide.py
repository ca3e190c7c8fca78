"""Decide what a CI job does about the run it started: follow it, give up, or end. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

# a worker asks for work every 10 s and says that it lives every 30 s (Prefect 3.8.8, settings/models/worker.py)
WORKER_SECONDS = 60.0
CANCELLED_EXIT = 130
# endings that are no error in the run and still no success: flows/run/endings.py
EXIT_OF_ENDING = {"Cannot succeed": 3}

Step = Literal["follow", "ended", "no worker", "too long"]


@dataclass(frozen=True)
class Seen:
    """What Prefect says of the run. `workers`: how many of its pool live.

    `waited`: seconds that no worker has taken it for, None where one has; again after an approval.
    """

    final: bool
    waited: float | None
    workers: int
    elapsed: float


def decide(seen: Seen, timeout: float) -> Step:
    """What to do now. `timeout` in seconds; a run that no worker can take is given up after WORKER_SECONDS."""
    if seen.final:
        return "ended"
    if seen.waited is not None and not seen.workers and seen.waited >= WORKER_SECONDS:
        return "no worker"
    if seen.elapsed >= timeout:
        return "too long"
    return "follow"


def exit_code(state: str, name: str, label: object) -> int:
    """The exit code of `slipway` for a run that ended. `state`: its type in Prefect; `name`: the state's name."""
    if state == "COMPLETED":
        return 0
    if name in EXIT_OF_ENDING:
        return EXIT_OF_ENDING[name]
    if state == "CANCELLED":
        return CANCELLED_EXIT
    return label if isinstance(label, int) and label > 0 else 1
