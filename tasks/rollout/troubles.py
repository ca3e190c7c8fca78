"""What is wrong with the capacity of models that serve, between runs: scalers, pods without a node, drains, notices."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tasks.cloud import drains, karpenter, objects
from tasks.cloud.autoscaler import HPA, Obstacle, obstacle_of
from tasks.cloud.kubernetes import Cluster
from tasks.cloud.scaling import KEDA
from tasks.records import names
from tasks.records.environment import Environment
from tasks.records.errors import CloudError
from tasks.records.model import Model
from tasks.rollout import holder


@dataclass(frozen=True)
class Trouble:
    """One, as `slipway status` tells it. `subject`: the model, or what of the environment."""

    subject: str
    cause: str
    evidence: tuple[str, ...]
    next_command: str

    def row(self) -> dict[str, str]:
        """A row of the table."""
        return {
            "of": self.subject,
            "trouble": self.cause,
            "seen": "; ".join(self.evidence),
            "next": self.next_command,
        }


def find(
    cluster: Cluster,
    environment: Environment,
    models: Sequence[Model],
    notices_cut: Callable[[], list[str]],
) -> list[Trouble]:
    """Look once. `models`: those that serve; `notices_cut`: why no notice of EC2 arrives. Raises ClusterError, CloudError."""
    found = [trouble for model in models for trouble in _of_model(cluster, environment, model)]
    if sleepers := [model.name for model in models if model.scaling.scale_to_zero]:
        found += _of_holder(cluster, environment, sleepers)
    if environment.cluster.gpu.uses_karpenter:
        found += _of_nodes(cluster, environment)
        if environment.cluster.gpu.capacity_type != "ON_DEMAND":
            found += _of_notices(environment, notices_cut)
    if held := drains.blocked(cluster, environment.cluster.gpu.selector):
        namespace = environment.namespace
        cause = "a GPU node is to go, and a PodDisruptionBudget keeps its pods there"
        found.append(Trouble("GPU nodes", cause, tuple(held), f"kubectl -n {namespace} get pdb,pods -o wide"))
    return found


def _of_model(cluster: Cluster, environment: Environment, model: Model) -> list[Trouble]:
    name, namespace, scaling = names.workload(model), environment.namespace, model.scaling
    replicas = int(objects.spec(cluster.get("apps/v1", "Deployment", name, namespace)).get("replicas", 0))
    if not replicas or scaling.min_replicas == scaling.max_replicas:
        return []
    scaled = cluster.get(*KEDA, name, namespace)
    obstacle = obstacle_of(name, namespace, scaled, cluster.list(*HPA, namespace))
    return [of_scaler(model, replicas, obstacle)] if obstacle else []


def _of_holder(cluster: Cluster, environment: Environment, sleepers: Sequence[str]) -> list[Trouble]:
    """Without the holder a request to a model that sleeps fails."""
    if holder.is_ready(cluster, environment):
        return []
    cause = f"the holder is not ready: no request wakes {', '.join(sleepers)}"
    return [
        Trouble("holder", cause, holder.words(cluster, environment), holder.describe(environment.namespace))
    ]


def of_scaler(model: Model, replicas: int, obstacle: Obstacle) -> Trouble:
    """An obstacle to scaling, and what the model does meanwhile: without demand the HPA changes nothing. Pure."""
    meanwhile = f"it serves with {replicas} replica{'s' if replicas > 1 else ''}"
    return Trouble(model.name, f"{obstacle.cause}; {meanwhile}", obstacle.evidence, obstacle.next_command)


def _of_nodes(cluster: Cluster, environment: Environment) -> list[Trouble]:
    """Pods that Karpenter brings no node to, with its words."""
    pods = objects.staying(cluster.list("v1", "Pod", environment.namespace))
    waiting = [pod for pod in pods if not objects.node_of(pod)]
    if not waiting:
        return []
    since = min(str(pod["metadata"]["creationTimestamp"]) for pod in waiting)
    refused = karpenter.refusals(cluster, waiting, since)
    if not refused:
        return []
    cause, command = karpenter.cause_of(refused, environment.name)
    several = ", ".join(sorted(map(objects.name, waiting)))
    return [Trouble("GPU nodes", f"{cause}; {several} wait", tuple(refused), command)]


def _of_notices(environment: Environment, notices_cut: Callable[[], list[str]]) -> list[Trouble]:
    """Spot nodes that would go without a notice."""
    try:
        lines = notices_cut()
    except CloudError as error:
        cause = f"whether EC2's notices reach Karpenter is not known: {error.cause}"
        return [Trouble("spot", cause, tuple(error.evidence), error.next_command or "")]
    if not lines:
        return []
    cause = "no notice of a spot interruption reaches Karpenter: a node that goes cuts its requests"
    return [
        Trouble("spot", cause, tuple(lines), f"slipway drift -e {environment.name}; a deploy makes it again")
    ]
