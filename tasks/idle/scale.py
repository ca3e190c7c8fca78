"""Replicas to zero and back."""

from __future__ import annotations

import time
from collections.abc import Callable

from tasks.cloud.interruption import nap
from tasks.cloud.kubernetes import Cluster
from tasks.cloud.scaling import pause_at, resume
from tasks.records.environment import Environment
from tasks.records.errors import ClusterError
from tasks.records.model import Model
from tasks.records.progress import Reporter


def to_zero(
    cluster: Cluster,
    model: Model,
    environment: Environment,
    reporter: Reporter,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = nap,
) -> None:
    """Pause KEDA at zero and wait until the pods have drained and gone. Raises ClusterError at the deadline."""
    pause_at(cluster, environment.namespace, f"vllm-{model.name}", 0)
    grace = model.engine.drain + model.engine.shutdown_timeout
    deadline = clock() + environment.deadlines.drain + grace
    while pods := serving_pods_left(cluster, model, environment):
        if clock() >= deadline:
            raise ClusterError(
                "pods did not go away after the scale-down",
                evidence=pods,
                next_command=f"kubectl -n {environment.namespace} describe pod {pods[0]}",
            )
        sleep(0.25)
    reporter.say(f"{model.name}: no replica is left")


def serving_pods_left(cluster: Cluster, model: Model, environment: Environment) -> list[str]:
    """The model's pods, those that are still ending included. What has ended and is only listed holds nothing."""
    pods = cluster.list("v1", "Pod", environment.namespace, label_selector=f"slipway.dev/model={model.name}")
    return [
        pod["metadata"]["name"]
        for pod in pods
        if pod["metadata"].get("deletionTimestamp")
        or (pod.get("status") or {}).get("phase") not in ("Failed", "Succeeded")
    ]


def gpu_pods(cluster: Cluster, environment: Environment) -> list[str]:
    """Pods of any namespace that still hold a GPU: while there is one, the nodes stay."""
    return [
        f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
        for pod in cluster.list("v1", "Pod")
        if pod.get("spec", {}).get("nodeName")
        and pod["status"].get("phase") not in ("Succeeded", "Failed")
        and any(
            "nvidia.com/gpu" in ((c.get("resources") or {}).get("requests") or {})
            for c in pod["spec"]["containers"]
        )
    ]


def from_zero(cluster: Cluster, model: Model, environment: Environment) -> None:
    """KEDA is in charge again, starting from its minimum (at least one)."""
    resume(cluster, environment.namespace, f"vllm-{model.name}", max(1, model.scaling.min_replicas))
