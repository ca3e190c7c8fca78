"""Scale a model's replicas to zero and back."""

from __future__ import annotations

from tasks.cloud import objects
from tasks.cloud.kubernetes import Cluster
from tasks.cloud.scaling import KEDA, is_paused_at_zero, pause_at, resume
from tasks.cloud.waiting import REAL, Time, until
from tasks.idle.decide import Going, going
from tasks.records import names
from tasks.records.environment import Environment
from tasks.records.errors import ClusterError
from tasks.records.model import Model
from tasks.records.progress import Reporter


def to_zero(
    cluster: Cluster, model: Model, environment: Environment, reporter: Reporter, *, time: Time = REAL
) -> bool:
    """Pause KEDA at zero and wait until the pods have drained and gone; False where a request wakes the model meanwhile.

    Raises ClusterError at the deadline.
    """
    namespace, name = environment.namespace, names.workload(model)
    pause_at(cluster, namespace, name, 0)
    grace = model.engine.drain + model.engine.shutdown_timeout
    pods: list[str] = []

    def look() -> Going | None:
        nonlocal pods
        paused = not model.scaling.scale_to_zero or is_paused_at_zero(cluster, namespace, name)
        pods = pods_left(cluster, model, environment)
        return going(paused=paused, pods=len(pods))

    def late() -> ClusterError:
        return ClusterError(
            "pods did not go away after the scale-down",
            evidence=pods,
            next_command=f"kubectl -n {namespace} describe pod {pods[0]}",
        )

    outcome = until(look, environment.deadlines.drain + grace, late, time)
    reporter.say(f"{model.name}: {outcome.value}")
    return outcome is Going.ASLEEP


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


def expect(cluster: Cluster, model: Model, environment: Environment, seconds: float) -> None:
    """Write how long the next start will take where the holder reads it."""
    note = {"metadata": {"annotations": {names.EXPECTED_ANNOTATION: f"{seconds:.1f}"}}}
    cluster.patch(*KEDA, names.workload(model), note, environment.namespace)


def from_zero(cluster: Cluster, model: Model, environment: Environment) -> None:
    """Put KEDA in charge again, starting from its minimum (at least one replica)."""
    resume(cluster, environment.namespace, names.workload(model), max(1, model.scaling.min_replicas))
