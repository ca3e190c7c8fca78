"""Scale a model's replicas to zero and back."""

from __future__ import annotations

from collections.abc import Sequence

from tasks.cloud import objects
from tasks.cloud.kubernetes import Cluster
from tasks.cloud.scaling import pause_at, resume
from tasks.cloud.waiting import REAL, Time, until_none
from tasks.records import names
from tasks.records.environment import Environment
from tasks.records.errors import ClusterError
from tasks.records.model import Model
from tasks.records.progress import Reporter


def to_zero(
    cluster: Cluster, model: Model, environment: Environment, reporter: Reporter, *, time: Time = REAL
) -> None:
    """Pause KEDA at zero and wait until the pods have drained and gone. Raises ClusterError at the deadline."""
    pause_at(cluster, environment.namespace, names.workload(model), 0)
    grace = model.engine.drain + model.engine.shutdown_timeout

    def late(pods: Sequence[str]) -> ClusterError:
        return ClusterError(
            "pods did not go away after the scale-down",
            evidence=pods,
            next_command=f"kubectl -n {environment.namespace} describe pod {pods[0]}",
        )

    until_none(
        lambda: pods_left(cluster, model, environment), environment.deadlines.drain + grace, late, time
    )
    reporter.say(f"{model.name}: no replica is left")


def pods_left(cluster: Cluster, model: Model, environment: Environment) -> list[str]:
    """Names of the pods a scale-down waits for: living or terminating. One that has ended and is only listed holds nothing."""
    pods = cluster.list("v1", "Pod", environment.namespace, label_selector=names.serving_selector(model))
    return [objects.name(pod) for pod in pods if objects.is_terminating(pod) or not objects.has_ended(pod)]


def gpu_pods(cluster: Cluster, environment: Environment) -> list[str]:
    """Pods of any namespace that hold a GPU, as NAMESPACE/NAME: while there is one, the GPU nodes stay."""
    return [
        f"{pod['metadata']['namespace']}/{objects.name(pod)}"
        for pod in objects.living(cluster.list("v1", "Pod"))
        if objects.node_of(pod) and objects.gpus_requested(pod)
    ]


def from_zero(cluster: Cluster, model: Model, environment: Environment) -> None:
    """Put KEDA in charge again, starting from its minimum (at least one replica)."""
    resume(cluster, environment.namespace, names.workload(model), max(1, model.scaling.min_replicas))
