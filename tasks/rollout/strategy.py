"""How a new release takes over: chosen from the GPUs that are free now. Pure decisions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tasks.records.errors import RolloutFailed
from tasks.records.model import HowToRollOut
from tasks.records.quantities import human_seconds, parse_quantity

GPU = "nvidia.com/gpu"


@dataclass(frozen=True)
class Plan:
    """The strategy, why, and for how long nobody answers (seconds, an estimate).

    `surge` and `unavailable` are the Deployment's bounds in replicas; `canary`: how many replicas go first (0: none).
    """

    strategy: Literal["RollingUpdate", "Recreate", "blue-green"]
    reason: str
    downtime_seconds: float = 0.0
    surge: int = 1
    unavailable: int = 0
    canary: int = 0

    def __str__(self) -> str:
        gap = f"about {human_seconds(self.downtime_seconds)}" if self.downtime_seconds else "none"
        first = f"; {self.canary} first, the rest after its gate" if self.canary else ""
        return f"{self.strategy}: {self.reason}{first}; expected downtime: {gap}"

    def rows(self) -> list[dict[str, str]]:
        """The same as a table."""
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
    """What serves now and what is free. `on`: the node of the one cache claim, None where every replica has a claim of
    its own and may go anywhere; `free`: GPUs nobody has requested, by node."""

    replicas: int
    on: str | None
    free: Mapping[str, int]
    gpus_each: int

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


def free_gpus(nodes: Sequence[Mapping[str, Any]], pods: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """GPUs nobody has requested, by the name of each schedulable node."""
    free = {
        node["metadata"]["name"]: int(parse_quantity(node["status"].get("allocatable", {}).get(GPU, "0")))
        for node in nodes
        if not node.get("spec", {}).get("unschedulable")
    }
    for pod in pods:
        node = pod.get("spec", {}).get("nodeName")
        if node in free and pod.get("status", {}).get("phase") not in ("Succeeded", "Failed"):
            free[node] -= sum(
                int(parse_quantity(container.get("resources", {}).get("requests", {}).get(GPU, "0")))
                for container in pod["spec"]["containers"]
            )
    return free


def choose(
    how: HowToRollOut, now: Present, *, start_seconds: float, drain_seconds: float, model: str = "MODEL"
) -> Plan:
    """The plan for what is free now. Raises RolloutFailed, with nothing moved, for a strategy the GPUs do not allow.

    Where the replicas share one claim, a new pod can only come up on the node the volume is attached to.
    """
    if now.replicas == 0:
        return Plan("RollingUpdate", "nothing serves yet")
    downtime = start_seconds + drain_seconds
    if how.strategy == "recreate":
        return Plan("Recreate", "asked for", downtime)
    if how.strategy == "blue-green":
        if now.room < now.replicas:
            raise unaffordable(how.strategy, now, now.replicas, model)
        needed = now.replicas * now.gpus_each
        return Plan("blue-green", f"asked for, and {needed} GPU free {now.where}")
    first = canary_size(how.canary, now.replicas)
    if now.room:
        first = min(first, now.room)
        reason = f"{now.room * now.gpus_each} GPU free {now.where}"
        return Plan("RollingUpdate", reason, surge=max(1, first), canary=first)
    if how.strategy == "surge":
        raise unaffordable(how.strategy, now, 1, model)
    if now.replicas > 1:
        reason = f"no GPU free {now.where}: replicas make room for new ones, {max(1, first)} at a time"
        return Plan("RollingUpdate", reason, surge=0, unavailable=max(1, first), canary=first)
    why = f"no GPU free {now.where}"
    if elsewhere := sum(max(0, gpus) // now.gpus_each for gpus in now.free.values()):
        why += f" ({elsewhere * now.gpus_each} free elsewhere cannot reach it)"
    return Plan("Recreate", why, downtime)


def canary_size(share: float | None, replicas: int) -> int:
    """How many replicas go first: one where nothing is said, never all of them, none of a single one."""
    if replicas < 2 or share == 0:
        return 0
    return max(1, min(replicas - 1, math.ceil((share or 0) * replicas)))


def unaffordable(strategy: str, now: Present, replicas: int, model: str) -> RolloutFailed:
    """Asked for, and the GPUs for it are not there."""
    needed, found = replicas * now.gpus_each, now.room * now.gpus_each
    return RolloutFailed(
        f"{strategy} needs {needed} GPU free {now.where}, beside what serves, and {found} are: nothing was moved",
        evidence=[str(now)],
        next_command=f"set rollout.strategy: auto in models/{model}.yaml, or raise cluster.gpu.desired "
        "or take a larger cluster.gpu.instance_type in the environment's file",
    )
