"""The namespace that models are served in, and its default-deny policy."""

from __future__ import annotations

from pathlib import Path

from tasks.cloud import objects
from tasks.cloud.kubernetes import Cluster, Object
from tasks.records.environment import Environment
from tasks.records.errors import ClusterError
from tasks.rollout.manifests import load


def documents(root: Path, environment: Environment) -> list[Object]:
    """The namespace, then its default-deny policy. Pure but for reading the manifests."""
    namespace, deny = load(root, "namespace/namespace.yaml"), load(root, "namespace/default-deny.yaml")
    namespace["metadata"]["name"] = environment.namespace
    deny["metadata"]["namespace"] = environment.namespace
    return [namespace, deny]


def apply(root: Path, cluster: Cluster, environment: Environment) -> None:
    """Apply both; warming needs them before the rollout does. Raises ClusterError where it is being deleted."""
    if going := being_deleted(cluster.get("v1", "Namespace", environment.namespace)):
        raise going
    for document in documents(root, environment):
        cluster.apply(document)


def being_deleted(namespace: Object | None) -> ClusterError | None:
    """Why nothing can be made in a namespace that is Terminating, in the words of its conditions; None for another. Pure."""
    if namespace is None or objects.status(namespace).get("phase") != "Terminating":
        return None
    name = objects.name(namespace)
    # https://kubernetes.io/docs/tasks/administer-cluster/namespaces/: what holds it is told by conditions of these types
    holding = [
        str(condition.get("message", ""))
        for condition in objects.status(namespace).get("conditions") or ()
        if condition.get("status") == "True" and condition.get("message")
    ]
    return ClusterError(
        f"namespace {name} is being deleted{': ' + '; '.join(holding) if holding else ''}",
        evidence=holding,
        next_command=f"kubectl get namespace {name} -o yaml says what holds it: wait for that, or remove its finalizer; "
        "then the same command again",
    )
