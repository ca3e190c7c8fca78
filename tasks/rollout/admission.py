"""Ask whether a release's pods may be made, before what serves is taken away for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tasks.cloud.kubernetes import KubernetesRefused, Object
from tasks.cloud.waiting import until
from tasks.records.errors import RolloutFailed
from tasks.rollout.context import RolloutContext
from tasks.rollout.explain import refused


def pod_of(deployment: Mapping[str, Any]) -> Object:
    """The pod that the Deployment's ReplicaSet would make. Pure."""
    template = deployment["spec"]["template"]
    metadata = {
        **template["metadata"],
        "generateName": f"{deployment['metadata']['name']}-",
        "namespace": deployment["metadata"]["namespace"],
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}


def check(context: RolloutContext, deployment: Object) -> None:
    """Have the API server make one pod for trial (dry run). Raises RolloutFailed with its words; nothing was moved then.

    A quota is not weighed: what serves still has its share of it, and gives that back. A server that fails is asked for
    as long as a pod may take to start.
    """
    pod = pod_of(deployment)
    answers: list[KubernetesRefused] = []

    def look() -> bool:
        try:
            context.cluster.try_create(pod)
        except KubernetesRefused as error:
            answers.append(error)
            if error.status >= 500:
                return False
            if "exceeded quota" not in "".join(error.evidence):
                raise failure_of(deployment, error) from error
        return True

    patience = context.environment.deadlines.pod_start
    until(look, patience, lambda: failure_of(deployment, answers[-1]), context.time, every=1.0)


def failure_of(deployment: Mapping[str, Any], error: KubernetesRefused) -> RolloutFailed:
    """The refusal as the reason why no pod can be made. Pure."""
    found = refused(deployment, "; ".join(error.evidence) or f"the Kubernetes API answered {error.status}")
    return RolloutFailed(
        f"{found.cause}: nothing was moved", evidence=found.evidence, next_command=found.next_command
    )
