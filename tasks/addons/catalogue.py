"""Read k8s/addons/addons.yaml and order the add-ons by what they need."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field

from tasks.addons import alertmanager
from tasks.cloud import karpenter
from tasks.records.catalogue import read_document
from tasks.records.environment import Environment
from tasks.records.errors import InvalidDocument
from tasks.records.record import Record

Proof = Literal[
    "gpus-allocatable",
    "metrics-answer",
    "gpu-metrics",
    "scaling-works",
    "claim-binds",
    "snapshots-served",
    "node-pool-ready",
    "load-balancer-made",
]


class Addon(Record):
    """One add-on. With a `chart` it is installed by helm; without one it comes with the cluster (EKS add-on)
    and is only verified. `proof` is what it must bring."""

    name: str
    namespace: str
    chart: str | None = None
    repo: str | None = Field(None, pattern=r"^(https|oci)://")
    version: str | None = Field(None, description="pinned: a chart never changes under a release")
    needs: tuple[str, ...] = Field((), description="add-ons that must have been verified before")
    image: str | None = Field(
        None, description="of its program, without registry and tag: tells one that somebody else installed"
    )
    provisioner: Literal["karpenter"] | None = Field(
        None, description="only where this makes the GPU nodes; default: everywhere"
    )
    gateway_tls: bool = Field(False, description="only where the gateway's load balancer speaks TLS")
    gpu_nodes: bool = Field(False, description="runs on GPU nodes: gets their label and taint as values")
    proof: Proof

    @property
    def brings_gpus(self) -> bool:
        """Whether nodes offer their GPUs by it."""
        return self.proof == "gpus-allocatable"


class AddonFile(Record):
    addons: tuple[Addon, ...]


def chosen(addons: Sequence[Addon], environment: Environment) -> list[Addon]:
    """The add-ons that belong in this environment."""
    by_pods = environment.cluster.gpu.uses_karpenter
    by_tls = environment.gateway.tls is not None
    return [one for one in addons if (one.provisioner is None or by_pods) and (not one.gateway_tls or by_tls)]


def load_addons(root: Path) -> list[Addon]:
    """All add-ons, each after those it needs. Raises InvalidDocument."""
    shown_as = "k8s/addons/addons.yaml"
    found = read_document(AddonFile, root / "k8s/addons/addons.yaml", shown_as=shown_as)
    return in_order(found.addons, shown_as)


def in_order(addons: Sequence[Addon], shown_as: str = "addons") -> list[Addon]:
    """Topological order, stable by the file's own. Raises InvalidDocument for an unknown need or a circle."""
    names = {addon.name for addon in addons}
    if len(names) < len(addons):
        raise InvalidDocument(f"{shown_as}: two add-ons have the same name")
    for addon in addons:
        missing = [need for need in addon.needs if need not in names]
        if missing:
            raise InvalidDocument(f"{shown_as}: {addon.name} needs {missing[0]}, which is not there")
    ordered: list[Addon] = []
    placed: set[str] = set()
    waiting = list(addons)
    while waiting:
        ready = [addon for addon in waiting if placed.issuperset(addon.needs)]
        if not ready:
            circle = ", ".join(addon.name for addon in waiting)
            raise InvalidDocument(f"{shown_as}: these need each other in a circle: {circle}")
        ordered += ready
        placed |= {addon.name for addon in ready}
        waiting = [addon for addon in waiting if addon.name not in placed]
    return ordered


def chart_source(addon: Addon, environment: Environment, root: Path) -> list[str]:
    """helm's arguments for the chart: a local folder, or a pinned version of a public repository."""
    assert addon.chart is not None  # noqa: S101  callers install only add-ons with a chart
    if environment.addons.chart_root:
        return [str(root / environment.addons.chart_root / addon.chart), "--version", addon.version or ""]
    if addon.repo and addon.repo.startswith("oci://"):
        return [f"{addon.repo}/{addon.chart}", "--version", addon.version or ""]
    return [addon.chart, "--repo", addon.repo or "", "--version", addon.version or ""]


def values_files(addon: Addon, environment: Environment, root: Path) -> list[Path]:
    """The values files of an add-on: ours first, then what the environment lays over them."""
    folders = [root / "k8s/addons/values"]
    if environment.addons.extra_values:
        folders.append(root / environment.addons.extra_values)
    return [file for folder in folders if (file := folder / f"{addon.name}.yaml").exists()]


def own_values(addon: Addon, environment: Environment, vpc_id: str = "") -> dict[str, object]:
    """What only the environment knows: where the GPU nodes are, what Karpenter and the load balancers' controller work on, and by
    which labels Prometheus finds a monitor."""
    values: dict[str, object] = {}
    if addon.gateway_tls:
        # else it asks the instance's metadata, which pods do not reach
        values |= {"clusterName": environment.eks_cluster, "region": environment.region, "vpcId": vpc_id}
    if addon.provisioner:
        settings = {
            "clusterName": environment.eks_cluster,
            "interruptionQueue": karpenter.queue(environment.cluster.name),
        }
        values["settings"] = settings
    if addon.gpu_nodes:
        gpu = environment.cluster.gpu
        placement = {"nodeSelector": gpu.node_selector, "tolerations": [gpu.taint.toleration]}
        values |= placement
        if addon.brings_gpus:
            values["nfd"] = {"worker": dict(placement)}
    if addon.proof == "metrics-answer" and environment.alerts.webhook:
        values["alertmanager"] = alertmanager.values()
    if addon.proof == "gpu-metrics" and environment.existing.prometheus:
        values["serviceMonitor"] = {"additionalLabels": environment.prometheus.monitor_labels}
    return values
