"""What there is to choose a strategy from: the model's pods, its claim's node, and the GPUs that are free now."""

from __future__ import annotations

from typing import Any

from tasks.records.model import HowToRollOut, Model
from tasks.releases.records import ReleaseRecord
from tasks.rollout import gate
from tasks.rollout.manifests import (
    COMPILE_ALLOWANCE_SECONDS,
    most_replicas,
    start_budget_seconds,
    workload_name,
)
from tasks.rollout.place import Place
from tasks.rollout.strategy import Plan, Present, choose, free_gpus


def observe(place: Place, model: Model) -> Present:
    """What serves now, and the GPUs nobody has requested."""
    environment = place.environment
    gpu = environment.cluster.gpu
    nodes = place.cluster.list("v1", "Node", label_selector=f"{gpu.label_key}={gpu.label_value}")
    free = free_gpus(nodes, place.cluster.list("v1", "Pod"))
    workload = place.workload(workload_name(model))
    pods = _pods(place, workload) if workload else []
    on = next((pod["spec"]["nodeName"] for pod in pods if pod.get("spec", {}).get("nodeName")), None)
    replicas = int(workload["spec"].get("replicas", 1)) if workload and on else 0
    shared = most_replicas(model) == 1
    return Present(replicas, on if shared else None, free, model.resources.gpu)


def _pods(place: Place, workload: dict[str, Any]) -> list[dict[str, Any]]:
    selector = gate.selector_of(workload)
    pods = place.cluster.list("v1", "Pod", place.environment.namespace, label_selector=selector)
    return [pod for pod in pods if (pod.get("status") or {}).get("phase") not in ("Failed", "Succeeded")]


def plan_rollout(
    place: Place,
    model: Model,
    how: HowToRollOut,
    weight_bytes: int,
    last: ReleaseRecord | None = None,
) -> Plan:
    """The strategy for what is allocatable now. Raises RolloutFailed for one the GPUs do not allow.

    The downtime it says is what the last start took, where one was measured, else an estimate from the bytes.
    """
    measured = last.last_start("rollout") if last else None
    estimate = start_budget_seconds(weight_bytes, place.environment) - COMPILE_ALLOWANCE_SECONDS
    return choose(
        how,
        observe(place, model),
        start_seconds=measured.seconds if measured else estimate,
        drain_seconds=model.engine.drain + model.engine.shutdown_timeout,
        model=model.name,
    )
