"""Gather what `strategy.choose` needs: serving pods, the claim's node, free GPUs."""

from __future__ import annotations

from typing import Any

from tasks.cloud import objects
from tasks.cloud.kubernetes import Object
from tasks.records import names
from tasks.records.model import HowToRollOut, Model
from tasks.releases.records import ReleaseRecord
from tasks.rollout.context import RolloutContext
from tasks.rollout.manifests import COMPILE_ALLOWANCE_SECONDS, start_budget_seconds
from tasks.rollout.pod_phases import selector_of
from tasks.rollout.strategy import Present, RolloutPlan, choose, free_gpus
from tasks.rollout.weights import Weights, most_replicas


def observe(context: RolloutContext, model: Model, weights: Weights | None) -> Present:
    """What serves now, and the GPUs that no pod has requested. `weights`: of what is rolled out; None: of what served before."""
    cluster = context.cluster
    free = free_gpus(objects.gpu_nodes(cluster, context.environment), cluster.list("v1", "Pod"))
    workload = context.workload(names.workload(model))
    pods = []
    if workload:
        selector = selector_of(workload)
        pods = objects.living(cluster.list("v1", "Pod", context.namespace, label_selector=selector))
    on = next((node for pod in pods if (node := objects.node_of(pod))), None)
    replicas = int(objects.spec(workload).get("replicas", 1)) if workload and on else 0
    attached = any("persistentVolumeClaim" in volume for pod in pods for volume in volumes_of(pod))
    shared = attached and most_replicas(model) == 1 and not (weights and weights.address)
    more = max(0, model.scaling.min_replicas - replicas) if replicas else 0
    return Present(replicas, on if shared else None, free, model.resources.gpu, more)


def volumes_of(pod: Object) -> list[dict[str, Any]]:
    """The volumes of a pod, as on the wire."""
    found: list[dict[str, Any]] = objects.spec(pod).get("volumes") or []
    return found


def plan_rollout(
    context: RolloutContext,
    model: Model,
    how: HowToRollOut,
    weights: Weights | None,
    last: ReleaseRecord | None = None,
) -> RolloutPlan:
    """Choose the strategy for what is allocatable now. Raises RolloutFailed for one the GPUs do not allow.

    The expected downtime is what the last rollout's start took, else an estimate from the bytes.
    """
    measured = last.last_start("rollout") if last else None
    budget = start_budget_seconds(weights, context.environment) if weights else COMPILE_ALLOWANCE_SECONDS
    estimate = budget - COMPILE_ALLOWANCE_SECONDS
    return choose(
        how,
        observe(context, model, weights),
        start_seconds=measured.seconds if measured else estimate,
        drain_seconds=model.engine.drain + model.engine.shutdown_timeout,
        model=model.name,
    )
