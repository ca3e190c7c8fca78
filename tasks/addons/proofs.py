"""An add-on is installed when what it brings is there, not when its install ended.

Each proof looks once and returns what is missing, as lines; an empty list is the proof.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import yaml

from tasks.addons.catalogue import Addon
from tasks.cloud.interruption import nap
from tasks.cloud.kubernetes import Cluster
from tasks.cloud.prometheus import prometheus_of
from tasks.records.environment import Environment
from tasks.records.errors import AddonNotReady, MetricsUnavailable
from tasks.records.progress import Reporter
from tasks.records.quantities import parse_quantity

GPU = "nvidia.com/gpu"
PROBE_CLAIM = "slipway-verify-ebs"


def prove(
    addon: Addon,
    cluster: Cluster,
    environment: Environment,
    root: Path,
    reporter: Reporter,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = nap,
) -> None:
    """Look until the add-on brings what it must. Raises AddonNotReady with what is missing."""
    looks: dict[str, Callable[[], list[str]]] = {
        "gpus-allocatable": lambda: gpus_missing(cluster, environment),
        "metrics-answer": lambda: metrics_missing(cluster, environment, "vector(1)"),
        "gpu-metrics": lambda: metrics_missing(cluster, environment, "DCGM_FI_DEV_GPU_UTIL"),
        "scaling-works": lambda: scaling_missing(cluster, addon),
        "claim-binds": lambda: claim_missing(cluster, addon, root),
        "snapshots-served": lambda: snapshots_missing(cluster),
    }
    deadline = clock() + environment.deadlines.addon
    said = ""
    while missing := looks[addon.proof]():
        if missing[0] != said:
            reporter.say(f"{addon.name}: {missing[0]}")
            said = missing[0]
        if clock() >= deadline:
            raise AddonNotReady(
                f"{addon.name} is installed but does not bring what it must: {missing[0]}",
                evidence=[*missing[1:], *_pods(cluster, addon)],
                next_command=f"kubectl -n {addon.namespace} get pods,events"
                if addon.chart
                else f"aws eks describe-addon --cluster-name {cluster.name} --addon-name {addon.name}",
            )
        sleep(0.25)
    if addon.proof == "claim-binds":
        _remove_probe(cluster, addon, root)
    reporter.say(f"{addon.name}: proven ({addon.proof})")


def gpus_missing(cluster: Cluster, environment: Environment) -> list[str]:
    """Every GPU node must have a GPU to give, and there must be one such node."""
    gpu = environment.cluster.gpu
    nodes = cluster.list("v1", "Node", label_selector=f"{gpu.label_key}={gpu.label_value}")
    if not nodes:
        return ["there is no GPU node yet"]
    return [
        f"node {node['metadata']['name']} has no allocatable {GPU} yet"
        for node in nodes
        if parse_quantity(node["status"].get("allocatable", {}).get(GPU, "0")) < 1
    ]


def metrics_missing(cluster: Cluster, environment: Environment, query: str) -> list[str]:
    try:
        found = prometheus_of(environment, cluster).instant(query)
    except MetricsUnavailable as error:
        return [error.cause, *error.evidence]
    return [] if found else [f"Prometheus answers, but has no {query} yet"]


def scaling_missing(cluster: Cluster, addon: Addon) -> list[str]:
    """KEDA's definition is established and its operator is available."""
    if not _is_established(cluster, "scaledobjects.keda.sh"):
        return ["the ScaledObject definition is not established yet"]
    operator = cluster.get("apps/v1", "Deployment", "keda-operator", addon.namespace)
    if not ((operator or {}).get("status") or {}).get("availableReplicas"):
        return ["keda-operator is not available yet"]
    return []


def snapshots_missing(cluster: Cluster) -> list[str]:
    """The definitions EKS's snapshot-controller add-on brings are established."""
    kinds = ("volumesnapshots", "volumesnapshotclasses", "volumesnapshotcontents")
    names = [f"{kind}.snapshot.storage.k8s.io" for kind in kinds]
    return [
        f"the definition {name} is not established yet"
        for name in names
        if not _is_established(cluster, name)
    ]


def _is_established(cluster: Cluster, name: str) -> bool:
    definition = cluster.get("apiextensions.k8s.io/v1", "CustomResourceDefinition", name)
    conditions = ((definition or {}).get("status") or {}).get("conditions") or []
    return any(c["type"] == "Established" and c["status"] == "True" for c in conditions)


def claim_missing(cluster: Cluster, addon: Addon, root: Path) -> list[str]:
    """A small claim must bind: that proves driver, identity, class and quota together."""
    probe = _probe_documents(root, addon)
    claim = cluster.get("v1", "PersistentVolumeClaim", PROBE_CLAIM, addon.namespace)
    if claim is None:
        for document in probe:
            cluster.apply(document)
        return ["a probe claim was made"]
    if claim.get("status", {}).get("phase") == "Bound":
        return []
    return ["the probe claim is not bound yet", *cluster.events(addon.namespace, PROBE_CLAIM)[-3:]]


def _probe_documents(root: Path, addon: Addon) -> list[dict[str, object]]:
    documents = list(yaml.safe_load_all((root / "k8s/addons/verify/ebs-claim.yaml").read_text()))
    for document in documents:
        if document["kind"] != "StorageClass":
            document["metadata"]["namespace"] = addon.namespace
    return documents


def _remove_probe(cluster: Cluster, addon: Addon, root: Path) -> None:
    for document in reversed(_probe_documents(root, addon)):
        metadata = document["metadata"]
        assert isinstance(metadata, dict)  # noqa: S101  our own file
        cluster.delete(
            str(document["apiVersion"]), str(document["kind"]), metadata["name"], metadata.get("namespace")
        )


def _pods(cluster: Cluster, addon: Addon) -> list[str]:
    return [
        f"pod {pod['metadata']['name']}: {pod['status'].get('phase')}"
        for pod in cluster.list("v1", "Pod", addon.namespace)
    ][:10]
