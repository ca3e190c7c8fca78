"""Workloads the tests put into a cluster, and waiting for what becomes of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import yaml

from tasks.cloud.kubernetes import Cluster
from tests.support.builders import ROOT

Document = dict[str, Any]
NAMESPACE = "llm"
PLUGIN = "nvcr.io/nvidia/k8s-device-plugin:v0.17.0"


class Quiet:
    """A reporter that nobody hears."""

    def say(self, line: str) -> None: ...

    def detail(self, line: str) -> None: ...

    def warn(self, line: str) -> None: ...

    def progress(self, done: float, total: float, unit: str = "bytes", detail: str = "") -> None: ...


def on_nodes(workload: str) -> Document:
    """A pod's nodeSelector and tolerations for nodes with that label, whatever their taints."""
    return {"nodeSelector": {"workload": workload}, "tolerations": [{"operator": "Exists"}]}


def device_plugin(pods: Document) -> Document:
    """NVIDIA's device plugin as a DaemonSet; `pods`: its pods' nodeSelector and tolerations."""
    labels = {"app": "device-plugin"}
    spec = {**pods, "containers": [{"name": "plugin", "image": PLUGIN, "command": ["nvidia-device-plugin"]}]}
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": "device-plugin", "namespace": "kube-system"},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": spec},
        },
    }


def pod_monitors() -> Document:
    """Prometheus' definition of PodMonitor without Prometheus: an engine and the gateway have one each."""
    file = ROOT / "sandbox/charts/kube-prometheus-stack/crds/podmonitors.yaml"
    return dict(yaml.safe_load(file.read_text()))


def claim(name: str, storage_class: str = "waits", **spec: Any) -> Document:
    """A PersistentVolumeClaim of 1 GiB."""
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": storage_class,
            "resources": {"requests": {"storage": "1Gi"}},
            **spec,
        },
    }


def phase(cluster: Cluster, pod: str) -> str:
    """The pod's phase; "None" where there is no such pod."""
    found = cluster.get("v1", "Pod", pod, NAMESPACE) or {}
    return str((found.get("status") or {}).get("phase"))


def wait(true: Callable[[], bool], patience: float = 120.0) -> None:
    """Until it is true; fails the test after `patience` seconds, which hold on a busy machine."""
    deadline = time.monotonic() + patience
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def gpu_node(cluster: Cluster) -> str:
    """The name of the one node with workload=inference-gpu."""
    [node] = cluster.list("v1", "Node", label_selector="workload=inference-gpu")
    return str(node["metadata"]["name"])
