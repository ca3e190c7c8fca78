"""How a new release takes over: chosen from the GPUs that are free now. Pure decisions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tasks.spec.quantities import human_seconds, parse_quantity

GPU = "nvidia.com/gpu"


@dataclass(frozen=True)
class Plan:
    """The strategy, why, and for how long nobody answers (seconds, an estimate)."""

    strategy: Literal["RollingUpdate", "Recreate"]
    reason: str
    downtime_seconds: float

    def __str__(self) -> str:
        gap = f"about {human_seconds(self.downtime_seconds)}" if self.downtime_seconds else "none"
        return f"{self.strategy}: {self.reason}; expected downtime: {gap}"


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
    *,
    serving_on: str | None,
    free: Mapping[str, int],
    gpus_needed: int,
    start_seconds: float,
    drain_seconds: float,
) -> Plan:
    """`serving_on` is the node the present release runs on, None where none runs.

    Surge needs a free GPU on that very node: the cache volume is attached there and nowhere else.
    """
    if serving_on is None:
        return Plan("RollingUpdate", "nothing serves yet", 0.0)
    if free.get(serving_on, 0) >= gpus_needed:
        return Plan(
            "RollingUpdate", f"{gpus_needed} GPU free on {serving_on}, where the cache volume is", 0.0
        )
    elsewhere = sum(free.values())
    why = f"no GPU free on {serving_on}, where the cache volume is attached"
    if elsewhere >= gpus_needed:
        why += f" ({elsewhere} free elsewhere cannot reach it)"
    return Plan("Recreate", why, start_seconds + drain_seconds)
