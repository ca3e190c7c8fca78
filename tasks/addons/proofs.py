"""Prove an add-on by what it brings to the cluster, not by the end of its install.

Each proof looks once and returns what is missing, as lines; an empty list is the proof.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tasks.addons.catalogue import Addon, Proof
from tasks.cloud import objects
from tasks.cloud.kubernetes import Cluster
from tasks.cloud.prometheus import prometheus_of
from tasks.cloud.waiting import REAL, Time, changes, until_none
from tasks.records.environment import Environment
from tasks.records.errors import AddonNotReady, MetricsUnavailable
from tasks.records.names import GPU
from tasks.records.progress import Reporter

PROBE_CLAIM = "slipway-verify-ebs"
# what EKS's snapshot-controller add-on defines
SNAPSHOT_KINDS = ("volumesnapshots", "volumesnapshotclasses", "volumesnapshotcontents")


@dataclass(frozen=True)
class Installed:
    """An add-on in the cluster where it must prove itself. `root`: the project's folder."""

    addon: Addon
    cluster: Cluster
    environment: Environment
    root: Path


def prove(installed: Installed, reporter: Reporter, *, time: Time = REAL) -> None:
    """Look until the add-on brings what it must. Raises AddonNotReady with what is missing."""
    addon, cluster = installed.addon, installed.cluster
    say = changes(reporter.say)

    def look() -> list[str]:
        missing = PROOFS[addon.proof](installed)
        if missing:
            say(f"{addon.name}: {missing[0]}")
        return missing

    def late(missing: Sequence[str]) -> AddonNotReady:
        return AddonNotReady(
            f"{addon.name} is installed but does not bring what it must: {missing[0]}",
            evidence=[*missing[1:], *_pods(installed)],
            next_command=f"kubectl -n {addon.namespace} get pods,events"
            if addon.chart
            else f"aws eks describe-addon --cluster-name {cluster.name} --addon-name {addon.name}",
        )

    until_none(look, installed.environment.deadlines.addon, late, time)
    if addon.proof == "claim-binds":
        _remove_probe(installed)
    reporter.say(f"{addon.name}: proven ({addon.proof})")


def gpus_missing(installed: Installed) -> list[str]:
    """Every GPU node must offer a GPU, and there must be one such node."""
    nodes = objects.gpu_nodes(installed.cluster, installed.environment)
    if not nodes:
        return ["there is no GPU node yet"]
    return [
        f"node {objects.name(node)} has no allocatable {GPU} yet"
        for node in nodes
        if objects.gpus_allocatable(node) < 1
    ]


def queries_missing(installed: Installed) -> list[str]:
    """Prometheus must answer a query."""
    return _unanswered(installed, "vector(1)")


def gpu_metrics_missing(installed: Installed) -> list[str]:
    """Prometheus must have the DCGM exporter's GPU utilisation."""
    return _unanswered(installed, "DCGM_FI_DEV_GPU_UTIL")


def scaling_missing(installed: Installed) -> list[str]:
    """KEDA's definition must be established and its operator available."""
    cluster = installed.cluster
    if not _is_established(cluster, "scaledobjects.keda.sh"):
        return ["the ScaledObject definition is not established yet"]
    operator = cluster.get("apps/v1", "Deployment", "keda-operator", installed.addon.namespace)
    if not objects.status(operator).get("availableReplicas"):
        return ["keda-operator is not available yet"]
    return []


def claim_missing(installed: Installed) -> list[str]:
    """A small claim must bind: that proves driver, identity, class and quota together."""
    cluster, namespace = installed.cluster, installed.addon.namespace
    claim = cluster.get("v1", "PersistentVolumeClaim", PROBE_CLAIM, namespace)
    if claim is None:
        for document in _probe_documents(installed):
            cluster.apply(document)
        return ["a probe claim was made"]
    if objects.status(claim).get("phase") == "Bound":
        return []
    return ["the probe claim is not bound yet", *cluster.events(namespace, PROBE_CLAIM)[-3:]]


def snapshots_missing(installed: Installed) -> list[str]:
    """The definitions of VolumeSnapshots must be established."""
    names = [f"{kind}.snapshot.storage.k8s.io" for kind in SNAPSHOT_KINDS]
    return [
        f"the definition {name} is not established yet"
        for name in names
        if not _is_established(installed.cluster, name)
    ]


PROOFS: dict[Proof, Callable[[Installed], list[str]]] = {
    "gpus-allocatable": gpus_missing,
    "metrics-answer": queries_missing,
    "gpu-metrics": gpu_metrics_missing,
    "scaling-works": scaling_missing,
    "claim-binds": claim_missing,
    "snapshots-served": snapshots_missing,
}


def _unanswered(installed: Installed, query: str) -> list[str]:
    try:
        found = prometheus_of(installed.environment, installed.cluster).instant(query)
    except MetricsUnavailable as error:
        return [error.cause, *error.evidence]
    return [] if found else [f"Prometheus answers, but has no {query} yet"]


def _is_established(cluster: Cluster, name: str) -> bool:
    definition = cluster.get("apiextensions.k8s.io/v1", "CustomResourceDefinition", name)
    return objects.holds(definition, "Established")


def _probe_documents(installed: Installed) -> list[dict[str, Any]]:
    text = (installed.root / "k8s/addons/verify/ebs-claim.yaml").read_text()
    documents: list[dict[str, Any]] = list(yaml.safe_load_all(text))
    for document in documents:
        if document["kind"] != "StorageClass":
            document["metadata"]["namespace"] = installed.addon.namespace
    return documents


def _remove_probe(installed: Installed) -> None:
    for document in reversed(_probe_documents(installed)):
        metadata = document["metadata"]
        installed.cluster.delete(
            document["apiVersion"], document["kind"], metadata["name"], metadata.get("namespace")
        )


def _pods(installed: Installed) -> list[str]:
    pods = installed.cluster.list("v1", "Pod", installed.addon.namespace)
    return [f"pod {objects.name(pod)}: {objects.status(pod).get('phase')}" for pod in pods][:10]
