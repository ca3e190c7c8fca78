"""Prove an add-on by what it brings to the cluster, not by the end of its install.

Each proof looks once and returns what is missing, as lines; an empty list is the proof.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tasks.addons import balancer, node_pool, probe
from tasks.addons.catalogue import Addon, Proof
from tasks.cloud import objects
from tasks.cloud.kubernetes import Cluster
from tasks.cloud.prometheus import prometheus_of
from tasks.cloud.waiting import REAL, Time, changes, until_none
from tasks.records.environment import Environment
from tasks.records.errors import AddonNotReady, MetricsUnavailable
from tasks.records.names import GPU
from tasks.records.progress import Reporter

# what KEDA's metrics API server answers, through kube-apiserver
METRICS_API = "v1beta1.external.metrics.k8s.io"
# what EKS's snapshot-controller add-on defines
SNAPSHOT_KINDS = ("volumesnapshots", "volumesnapshotclasses", "volumesnapshotcontents")


@dataclass(frozen=True)
class Installed:
    """An add-on in the cluster where it must prove itself. `root`: the project's folder; `elsewhere`: the namespace of
    one that somebody else installed."""

    addon: Addon
    cluster: Cluster
    environment: Environment
    root: Path
    elsewhere: str = ""

    @property
    def namespace(self) -> str:
        return self.elsewhere or self.addon.namespace


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
            f"{addon.name} is there but does not bring what it must: {missing[0]}",
            evidence=[*missing[1:], *_pods(installed)],
            next_command=f"kubectl -n {installed.namespace} get pods,events"
            if addon.chart
            else f"aws eks describe-addon --cluster-name {cluster.name} --addon-name {addon.name}",
        )

    until_none(look, installed.environment.deadlines.addon, late, time)
    clear(installed, time=time)
    reporter.say(f"{addon.name}: proven ({addon.proof})")


def clear(installed: Installed, *, time: Time = REAL) -> None:
    """Remove what a proof has made, here or in a run that was killed. Raises ClusterError."""
    addon, cluster, environment = installed.addon, installed.cluster, installed.environment
    if addon.proof == "claim-binds":
        probe.remove(cluster, environment, addon.namespace, installed.root)
    if addon.proof == "load-balancer-made":
        balancer.remove(cluster, environment, addon.namespace, time=time)


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
    """Prometheus must answer a query, and its operator's kinds be there, by which it finds the pods."""
    if not _is_established(installed.cluster, "podmonitors.monitoring.coreos.com"):
        return ["the PodMonitor definition is not established yet"]
    return _unanswered(installed, "vector(1)")


def gpu_metrics_missing(installed: Installed) -> list[str]:
    """Prometheus must have the DCGM exporter's GPU utilisation."""
    return _unanswered(installed, "DCGM_FI_DEV_GPU_UTIL")


def scaling_missing(installed: Installed) -> list[str]:
    """KEDA's definition must be established, its operator available, and its metrics served: the autoscaler reads them."""
    cluster = installed.cluster
    if not _is_established(cluster, "scaledobjects.keda.sh"):
        return ["the ScaledObject definition is not established yet"]
    operator = cluster.get("apps/v1", "Deployment", "keda-operator", installed.namespace)
    if not objects.status(operator).get("availableReplicas"):
        return ["keda-operator is not available yet"]
    served = cluster.get("apiregistration.k8s.io/v1", "APIService", METRICS_API)
    if not objects.holds(served, "Available"):
        said = str(objects.condition(served, "Available").get("message") or "it is not registered")
        return [f"the API {METRICS_API} is not available yet: {said}"]
    return []


def claim_missing(installed: Installed) -> list[str]:
    """A small claim must bind: that proves driver, identity, class and quota together."""
    cluster, namespace = installed.cluster, installed.addon.namespace
    name = probe.probe_name(installed.environment)
    claim = cluster.get("v1", "PersistentVolumeClaim", name, namespace)
    if claim is None:
        for document in probe.documents(installed.environment, namespace, installed.root):
            cluster.apply(document)
        return ["a probe claim was made"]
    if objects.status(claim).get("phase") == "Bound":
        return []
    return ["the probe claim is not bound yet", *cluster.events(namespace, name)[-3:]]


def snapshots_missing(installed: Installed) -> list[str]:
    """The definitions of VolumeSnapshots must be established."""
    names = [f"{kind}.snapshot.storage.k8s.io" for kind in SNAPSHOT_KINDS]
    return [
        f"the definition {name} is not established yet"
        for name in names
        if not _is_established(installed.cluster, name)
    ]


def node_pool_missing(installed: Installed) -> list[str]:
    """Karpenter must run and take the GPU nodes' NodePool, which it does where role, subnets, image and profile are there."""
    return node_pool.missing(installed.cluster, installed.namespace)


def load_balancer_missing(installed: Installed) -> list[str]:
    """The AWS Load Balancer Controller must have made a load balancer: that proves role, subnets and quota together."""
    return balancer.missing(installed.cluster, installed.environment, installed.namespace, installed.root)


PROOFS: dict[Proof, Callable[[Installed], list[str]]] = {
    "gpus-allocatable": gpus_missing,
    "metrics-answer": queries_missing,
    "gpu-metrics": gpu_metrics_missing,
    "scaling-works": scaling_missing,
    "claim-binds": claim_missing,
    "snapshots-served": snapshots_missing,
    "node-pool-ready": node_pool_missing,
    "load-balancer-made": load_balancer_missing,
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


def _pods(installed: Installed) -> list[str]:
    pods = installed.cluster.list("v1", "Pod", installed.namespace)
    return [f"pod {objects.name(pod)}: {objects.status(pod).get('phase')}" for pod in pods][:10]
