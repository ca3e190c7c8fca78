"""Choose how a new release takes over, from the GPUs that are free now. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tasks.cloud import objects
from tasks.records.errors import RolloutFailed
from tasks.records.model import HowToRollOut
from tasks.records.quantities import human_seconds
from tasks.records.strategy import Strategy, Taken


@dataclass(frozen=True)
class RolloutPlan:
    """How a release takes over, and why.

    Args:
        downtime_seconds: how long nobody will answer, an estimate.
        surge: replicas the Deployment may have beside those it should.
        unavailable: replicas it may lack.
        canary: replicas that go first; 0 for none.
    """

    strategy: Taken
    reason: str
    downtime_seconds: float = 0.0
    surge: int = 1
    unavailable: int = 0
    canary: int = 0

    @property
    def deployment_strategy(self) -> dict[str, Any]:
        """The Deployment's spec.strategy."""
        # blue-green: while green serves, the Deployment's own pods may all go at once, and need no GPU beside
        if self.strategy in (Strategy.RECREATE, Strategy.BLUE_GREEN):
            return {"type": "Recreate"}
        return rolling_update(surge=self.surge, unavailable=self.unavailable)

    def __str__(self) -> str:
        gap = f"about {human_seconds(self.downtime_seconds)}" if self.downtime_seconds else "none"
        first = f"; {self.canary} first, the rest after its gate" if self.canary else ""
        return f"{self.strategy}: {self.reason}{first}; expected downtime: {gap}"

    def rows(self) -> list[dict[str, str]]:
        """The plan as rows of a table."""
        gap = f"about {human_seconds(self.downtime_seconds)}" if self.downtime_seconds else "none"
        told = {
            "strategy": self.strategy,
            "why": self.reason,
            "first (canary)": f"{self.canary} replicas" if self.canary else "none",
            "expected downtime": gap,
        }
        return [{"what": what, "plan": plan} for what, plan in told.items()]


@dataclass(frozen=True)
class Present:
    """What serves now, and the free GPUs.

    Args:
        on: the node of the one cache claim; None where each replica has a claim of its own and may go anywhere.
        free: GPUs that no pod has requested, by node.
        more: replicas that KEDA adds at once, where `min_replicas` was raised.
    """

    replicas: int
    on: str | None
    free: Mapping[str, int]
    gpus_each: int
    more: int = 0

    @property
    def room(self) -> int:
        """How many more replicas could be scheduled now."""
        usable = self.free if self.on is None else {self.on: self.free.get(self.on, 0)}
        return sum(max(0, gpus) // self.gpus_each for gpus in usable.values())

    @property
    def where(self) -> str:
        return f"on {self.on}, where the cache volume is" if self.on else "on the GPU nodes"

    def __str__(self) -> str:
        return (
            ", ".join(f"{node}: {gpus} GPU free" for node, gpus in sorted(self.free.items())) or "no GPU node"
        )


def rolling_update(*, surge: int, unavailable: int) -> dict[str, Any]:
    """A Deployment's spec.strategy that replaces pods a few at a time; both bounds are replicas."""
    return {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable},
    }


def under_way(deployment: Mapping[str, Any]) -> RolloutPlan:
    """The plan of a rollout that an earlier run began, as its Deployment has it.

    One that is paused stands at its canary, which has yet to pass.
    """
    reason = "begun by a run before this one"
    strategy = objects.spec(deployment).get("strategy") or {}
    if strategy.get("type") == "Recreate":
        return RolloutPlan(Strategy.RECREATE, reason)
    bounds = strategy.get("rollingUpdate") or {}
    surge, first = bounds.get("maxSurge", 1), int(objects.status(deployment).get("updatedReplicas") or 1)
    return RolloutPlan(
        Strategy.SURGE if surge else Strategy.ROLLING,
        reason,
        surge=surge,
        unavailable=bounds.get("maxUnavailable", 0),
        canary=first if objects.spec(deployment).get("paused") else 0,
    )


def free_gpus(nodes: Sequence[Mapping[str, Any]], pods: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """GPUs that no pod has requested, by the name of each schedulable node."""
    free = {
        objects.name(node): objects.gpus_allocatable(node)
        for node in nodes
        if not objects.spec(node).get("unschedulable")
    }
    for pod in pods:
        node = objects.node_of(pod)
        if node in free and not objects.has_ended(pod):
            free[node] -= objects.gpus_requested(pod)
    return free


def choose(
    how: HowToRollOut, now: Present, *, start_seconds: float, drain_seconds: float, model: str = "MODEL"
) -> RolloutPlan:
    """The plan for the GPUs that are free now. Raises RolloutFailed for a strategy they do not allow.

    Where replicas share one claim, a new pod can only start on the node that the volume is attached to.
    """
    if now.replicas == 0:
        return RolloutPlan(Strategy.ROLLING, "nothing serves yet")
    downtime = start_seconds + drain_seconds
    if how.strategy is Strategy.RECREATE:
        return RolloutPlan(Strategy.RECREATE, "asked for", downtime)
    if how.strategy is Strategy.BLUE_GREEN:
        if now.room < now.replicas:
            raise unaffordable(how.strategy, now, now.replicas, model)
        needed = now.replicas * now.gpus_each
        return RolloutPlan(Strategy.BLUE_GREEN, f"asked for, and {needed} GPU free {now.where}")
    if how.pairs and how.strategy is Strategy.AUTO and now.room - now.more >= now.replicas:
        needed = now.replicas * now.gpus_each
        return RolloutPlan(
            Strategy.BLUE_GREEN, f"both releases are asked in pairs, and {needed} GPU free {now.where}"
        )
    first = canary_size(how.canary, now.replicas)
    free = f"{now.room * now.gpus_each or 'no'} GPU free {now.where}"
    if now.more:
        free += f" for {now.more} more replica{'s' if now.more > 1 else ''}"
    if (spare := now.room - now.more) > 0:
        first = min(first, spare)
        return RolloutPlan(Strategy.SURGE, free, surge=max(1, first), canary=first)
    if how.strategy is Strategy.SURGE:
        raise unaffordable(how.strategy, now, 1 + now.more, model)
    if now.replicas > 1 or (now.more and now.room):
        # replicas without a GPU count as unavailable: as many fewer may go before the new ones are there
        going = max(1, first, 1 - spare)
        reason = f"{free}: replicas make room for new ones, {going} at a time"
        return RolloutPlan(Strategy.ROLLING, reason, surge=0, unavailable=going, canary=first)
    why = f"no GPU free {now.where}"
    if elsewhere := sum(max(0, gpus) // now.gpus_each for gpus in now.free.values()):
        why += f" ({elsewhere * now.gpus_each} free elsewhere cannot reach it)"
    return RolloutPlan(Strategy.RECREATE, why, downtime)


def canary_size(share: float | None, replicas: int) -> int:
    """How many replicas go first: one by default, never all of them, none of a single one."""
    if replicas < 2 or share == 0:
        return 0
    return max(1, min(replicas - 1, math.ceil((share or 0) * replicas)))


def unaffordable(strategy: str, now: Present, replicas: int, model: str) -> RolloutFailed:
    """The error for a strategy that needs more free GPUs than there are."""
    needed, found = replicas * now.gpus_each, now.room * now.gpus_each
    return RolloutFailed(
        f"{strategy} needs {needed} GPU free {now.where}, beside what serves, and {found} are: nothing was moved",
        evidence=[str(now)],
        next_command=f"set rollout.strategy: auto in models/{model}.yaml, or raise cluster.gpu.desired of a node group, "
        "or take a larger cluster.gpu.instance_type in the environment's file",
    )
