"""The namespace that models are served in, and its default-deny policy."""

from __future__ import annotations

from pathlib import Path

from tasks.cloud.kubernetes import Cluster, Object
from tasks.records.environment import Environment
from tasks.rollout.manifests import load


def documents(root: Path, environment: Environment) -> list[Object]:
    """The namespace, then its default-deny policy. Pure but for reading the manifests."""
    namespace, deny = load(root, "namespace/namespace.yaml"), load(root, "namespace/default-deny.yaml")
    namespace["metadata"]["name"] = environment.namespace
    deny["metadata"]["namespace"] = environment.namespace
    return [namespace, deny]


def apply(root: Path, cluster: Cluster, environment: Environment) -> None:
    """Apply both; warming needs them before the rollout does."""
    for document in documents(root, environment):
        cluster.apply(document)
