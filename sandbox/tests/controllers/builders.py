"""Objects for the tables: as small as the decisions allow."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from slipway_sandbox.controllers.objects import Object

NOW = datetime(2030, 1, 1, 12, 0, 0, tzinfo=UTC)


def meta(name: str, **more: Any) -> Object:
    return {"name": name, "namespace": "default", "uid": f"uid-{name}", "resourceVersion": "1", **more}


def pod(name: str, node: str = "", **more: Any) -> Object:
    container = {"name": "c", "image": "i", "resources": {"requests": more.pop("requests", {})}}
    status = {"phase": more.pop("phase", "Running"), "conditions": more.pop("conditions", [])}
    metadata = meta(name, labels=more.pop("labels", {}))
    spec = {"containers": [container], **({"nodeName": node} if node else {}), **more}
    return {"metadata": metadata, "spec": spec, "status": status}


def node(name: str, taints: list[Object] | None = None, cpu: str = "4", **labels: str) -> Object:
    names = {key.replace("_", "/"): value for key, value in labels.items()}
    return {
        "metadata": {"name": name, "uid": name, "labels": {"host": name, **names}},
        "spec": {"taints": taints or []},
        "status": {"allocatable": {"cpu": cpu, "memory": "8Gi", "pods": "10"}},
    }


def claim(name: str = "data", **spec: Any) -> Object:
    base = {
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": "gp3",
        "resources": {"requests": {"storage": "5Gi"}},
    }
    return {
        "metadata": meta(name, finalizers=["kubernetes.io/pvc-protection"]),
        "spec": base | spec,
        "status": {"phase": "Pending"},
    }


def volume(name: str, size: str, **spec: Any) -> Object:
    base = {"capacity": {"storage": size}, "accessModes": ["ReadWriteOnce"], "storageClassName": "gp3"}
    return {
        "metadata": {"name": name, "uid": name, "finalizers": ["kubernetes.io/pv-protection"]},
        "spec": base | spec,
        "status": {"phase": "Available"},
    }


CLASS = {"metadata": {"name": "gp3"}, "provisioner": "ebs.csi.aws.com", "volumeBindingMode": "Immediate"}
LATE = CLASS | {"volumeBindingMode": "WaitForFirstConsumer"}
