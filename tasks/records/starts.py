"""The phases of a cold start, from the decision to the first token, and the budgets that a model gives them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from tasks.records.quantities import human_seconds
from tasks.records.record import Record

# in order. A phase that nothing shows is left out, and its time counts to the next
Phase = Literal[
    "scaler",  # from the decision to the pod
    "node requested",  # until Karpenter has made a NodeClaim
    "node ready",
    "scheduled",
    "volume",
    "image",
    "container",
    "engine",
    "weights",
    "compile",
    "server",
    "first answer",  # of the startup probe
    "ready",
    "first token",  # of a request that was held
]
WHOLE = "whole"
Budgeted = Phase | Literal["whole"]


class CompileCache(Record):
    """Of a start that kept what it compiled: by which key, and whether an earlier start had left it."""

    key: str
    again: bool
    first: float | None = Field(
        None, description="seconds that compilation took in the start that made it, where that is known"
    )


def over_budget(phases: Mapping[str, float], budgets: Mapping[Budgeted, float]) -> tuple[str, ...]:
    """The phases that took longer than their budgets, as "node ready took 3m, its budget is 2m". Pure."""
    took = {**phases, WHOLE: sum(phases.values())}
    return tuple(
        f"{'the whole start' if name == WHOLE else name} took {human_seconds(took[name])}, its budget is "
        f"{human_seconds(budget)}"
        for name, budget in budgets.items()
        if took.get(name, 0.0) > budget
    )
