"""Everything served in a namespace goes: workloads, and the gateway's load balancer."""

from __future__ import annotations

import time
from collections.abc import Callable

from tasks.cloud.interruption import nap
from tasks.cloud.kubernetes import Cluster
from tasks.records.environment import Environment
from tasks.records.errors import RolloutFailed
from tasks.records.progress import Reporter


def remove(
    cluster: Cluster,
    environment: Environment,
    reporter: Reporter,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = nap,
) -> list[str]:
    """Take away everything served in the namespace, the gateway's load balancer too; what was removed.

    Raises RolloutFailed when something stays: load balancers and pods hold on to subnets and volumes.
    """
    namespace, removed = environment.namespace, []
    kinds = [
        ("keda.sh/v1alpha1", "ScaledObject"),
        ("monitoring.coreos.com/v1", "PodMonitor"),
        ("apps/v1", "Deployment"),
        ("batch/v1", "Job"),
        ("v1", "Service"),
    ]
    for api, kind in kinds:
        for item in cluster.list(api, kind, namespace):
            name = item["metadata"]["name"]
            if cluster.delete(api, kind, name, namespace, propagation="Foreground"):
                reporter.say(f"removed {kind} {name}")
                removed.append(f"{kind} {namespace}/{name}")
    deadline = clock() + environment.deadlines.drain
    while left := [
        f"{kind} {item['metadata']['name']}"
        for api, kind in [*kinds, ("v1", "Pod")]
        for item in cluster.list(api, kind, namespace)
    ]:
        if clock() >= deadline:
            raise RolloutFailed(
                f"not everything in {namespace} went away",
                evidence=left,
                next_command=f"kubectl -n {namespace} get all",
            )
        sleep(0.25)
    return removed
