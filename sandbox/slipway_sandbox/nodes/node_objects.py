"""Node and Lease objects as an EKS node's kubelet and cloud controller make them. Pure functions."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from slipway_sandbox.apiclient import Object
from slipway_sandbox.nodes.instance_types import InstanceType

KUBELET_VERSION = "1.33.5"  # of a node whose group does not say
GROUP_LABEL = "eks.amazonaws.com/nodegroup"
CAPACITY_LABEL = "eks.amazonaws.com/capacityType"
TYPE_LABEL = "node.kubernetes.io/instance-type"
ZONE_LABEL = "topology.kubernetes.io/zone"
LEASE_SECONDS = 40  # the kubelet's nodeLeaseDurationSeconds

# EKS writes taint effects its own way.
TAINT_EFFECTS = {
    "NO_SCHEDULE": "NoSchedule",
    "NO_EXECUTE": "NoExecute",
    "PREFER_NO_SCHEDULE": "PreferNoSchedule",
}


@dataclass(frozen=True)
class NodeSpec:
    """One EC2 instance as a node; `group` is its node group, empty for one that joined by itself."""

    name: str
    instance_id: str
    type: InstanceType
    group: str
    zone: str
    region: str
    subnet: str = ""
    capacity_type: str = "ON_DEMAND"
    image: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: Sequence[Mapping[str, str]] = ()  # in the form of the Kubernetes API
    version: str = ""  # the kubelet's, e.g. 1.34.1

    @property
    def kubelet_version(self) -> str:
        return f"v{self.version or KUBELET_VERSION}-eks-113cf36"

    def all_labels(self) -> dict[str, str]:
        own = {
            "beta.kubernetes.io/arch": "amd64",
            "beta.kubernetes.io/instance-type": self.type.name,
            "beta.kubernetes.io/os": "linux",
            "failure-domain.beta.kubernetes.io/region": self.region,
            "failure-domain.beta.kubernetes.io/zone": self.zone,
            "kubernetes.io/arch": "amd64",
            "kubernetes.io/hostname": self.name,
            "kubernetes.io/os": "linux",
            "topology.ebs.csi.aws.com/zone": self.zone,
            "topology.kubernetes.io/region": self.region,
            TYPE_LABEL: self.type.name,
            ZONE_LABEL: self.zone,
        }
        if self.group:
            own |= {CAPACITY_LABEL: self.capacity_type, GROUP_LABEL: self.group}
        if self.group and self.image:
            own["eks.amazonaws.com/nodegroup-image"] = self.image
        return {**self.labels, **own}


def kubernetes_taints(group: Mapping[str, object]) -> list[dict[str, str]]:
    """The taints of an EKS node group description in the form of the Kubernetes API."""
    taints = group.get("taints") or []
    assert isinstance(taints, list)
    return [
        {
            "key": taint["key"],
            "effect": TAINT_EFFECTS[taint["effect"]],
            **({"value": taint["value"]} if taint.get("value") else {}),
        }
        for taint in taints
    ]


def ready_conditions(now: str) -> list[Object]:
    """The conditions of a healthy node, transitions stamped `now`."""
    quiet = [
        ("MemoryPressure", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
        ("DiskPressure", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        ("PIDPressure", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
    ]
    rows = [(kind, "False", reason, message) for kind, reason, message in quiet]
    rows.append(("Ready", "True", "KubeletReady", "kubelet is posting ready status"))
    return [_condition(kind, status, reason, message, now) for kind, status, reason, message in rows]


def unknown_conditions(now: str) -> list[Object]:
    """What the node lifecycle controller writes of a node that no longer reports."""
    return [
        _condition(kind, "Unknown", "NodeStatusUnknown", "Kubelet stopped posting node status.", now)
        for kind in ("MemoryPressure", "DiskPressure", "PIDPressure", "Ready")
    ]


def _condition(kind: str, status: str, reason: str, message: str, now: str) -> Object:
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": message,
        "lastHeartbeatTime": now,
        "lastTransitionTime": now,
    }


def node_status(spec: NodeSpec, address: str, port: int, now: str) -> Object:
    """A whole node status; `address` and `port` are where the kubelet listens."""
    identity = hashlib.sha256(spec.instance_id.encode()).hexdigest()
    return {
        "addresses": [
            {"type": "InternalIP", "address": address},
            {"type": "InternalDNS", "address": spec.name},
            {"type": "Hostname", "address": spec.name},
        ],
        "capacity": spec.type.capacity(),
        "allocatable": spec.type.allocatable(),
        "conditions": ready_conditions(now),
        "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
        "nodeInfo": {
            "architecture": "amd64",
            "bootID": str(uuid.UUID(identity[:32])),
            "containerRuntimeVersion": "containerd://2.1.4",
            "kernelVersion": "6.12.46-66.121.amzn2023.x86_64",
            "kubeProxyVersion": spec.kubelet_version,
            "kubeletVersion": spec.kubelet_version,
            "machineID": f"ec2{identity[:29]}",
            "operatingSystem": "linux",
            "osImage": "Amazon Linux 2023.8.20250915",
            "systemUUID": str(uuid.UUID(identity[32:])),
        },
        "images": [],
    }


def node_object(spec: NodeSpec, status: Object) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": spec.name, "labels": spec.all_labels()},
        "spec": {
            "providerID": f"aws:///{spec.zone}/{spec.instance_id}",
            "taints": [dict(taint) for taint in spec.taints],
        },
        "status": status,
    }


def lease_object(node: str, uid: str, renewed: str) -> Object:
    """The kubelet's heartbeat in kube-node-lease; `renewed` is a MicroTime."""
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {
            "name": node,
            "namespace": "kube-node-lease",
            "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": node, "uid": uid}],
        },
        "spec": {"holderIdentity": node, "leaseDurationSeconds": LEASE_SECONDS, "renewTime": renewed},
    }
