"""Remove everything served in a namespace: workloads, and the gateway's load balancer."""

from __future__ import annotations

from collections.abc import Sequence

from tasks.cloud import objects
from tasks.cloud.kubernetes import Cluster
from tasks.cloud.waiting import REAL, Time, until_none
from tasks.records.environment import Environment
from tasks.records.errors import RolloutFailed
from tasks.records.progress import Reporter

KINDS = (
    ("keda.sh/v1alpha1", "ScaledObject"),
    ("monitoring.coreos.com/v1", "PodMonitor"),
    ("monitoring.coreos.com/v1", "PrometheusRule"),
    ("policy/v1", "PodDisruptionBudget"),
    ("apps/v1", "Deployment"),
    ("batch/v1", "Job"),
    ("v1", "Service"),
)


def remove(cluster: Cluster, environment: Environment, reporter: Reporter, *, time: Time = REAL) -> list[str]:
    """Delete what is served and wait until it has gone; what was removed, as "KIND NAMESPACE/NAME".

    Raises RolloutFailed where something stays: load balancers and pods hold on to subnets and volumes.
    """
    namespace, removed = environment.namespace, []
    for api, kind in KINDS:
        for item in cluster.list(api, kind, namespace):
            name = objects.name(item)
            if cluster.delete(api, kind, name, namespace, propagation="Foreground"):
                reporter.say(f"removed {kind} {name}")
                removed.append(f"{kind} {namespace}/{name}")

    def left() -> list[str]:
        return [
            f"{kind} {objects.name(item)}"
            for api, kind in [*KINDS, ("v1", "Pod")]
            for item in cluster.list(api, kind, namespace)
        ]

    def late(seen: Sequence[str]) -> RolloutFailed:
        return RolloutFailed(
            f"not everything in {namespace} went away",
            evidence=seen,
            next_command=f"kubectl -n {namespace} get all",
        )

    until_none(left, environment.deadlines.drain, late, time)
    return removed
