"""What an instance's user data tells nodeadm: the cluster to join, labels and taints. Pure functions.

Format: github.com/awslabs/amazon-eks-ami, nodeadm/doc/api.md (node.eks.aws/v1alpha1 NodeConfig, alone or as a part of
a MIME archive).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.message import Message
from email.parser import Parser
from typing import Any

import yaml

CONTENT_TYPE = "application/node.eks.aws"
_LABELS = re.compile(r"--node-labels=(\S+)")


class NoNodeConfig(ValueError):
    """The user data has no NodeConfig that nodeadm could read: the instance joins no cluster."""


@dataclass(frozen=True)
class NodeConfig:
    """`taints` in the form of the Kubernetes API."""

    cluster: str
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: tuple[Mapping[str, str], ...] = ()


def read_node_config(user_data: str) -> NodeConfig:
    """The NodeConfig of an instance's (decoded) user data. Raises NoNodeConfig."""
    configs = _configs(user_data)
    if not configs:
        raise NoNodeConfig("the user data holds no NodeConfig")
    cluster, labels = "", dict[str, str]()
    taints: list[Mapping[str, str]] = []
    for config in configs:  # later parts are merged over earlier ones
        spec = config.get("spec") or {}
        kubelet = spec.get("kubelet") or {}
        cluster = (spec.get("cluster") or {}).get("name") or cluster
        for flag in kubelet.get("flags") or []:
            labels |= _labels(flag)
        taints = (kubelet.get("config") or {}).get("registerWithTaints") or taints
    if not cluster:
        raise NoNodeConfig("the NodeConfig names no cluster")
    return NodeConfig(cluster, labels, tuple(taints))


def kubelet_labels(user_data: str) -> dict[str, str]:
    """The labels of the NodeConfigs that a node group's own user data has; EKS adds the cluster's part. Raises NoNodeConfig."""
    specs = [config.get("spec") or {} for config in _configs(user_data)]
    flags = [flag for spec in specs for flag in (spec.get("kubelet") or {}).get("flags") or []]
    return {name: value for flag in flags for name, value in _labels(flag).items()}


def _configs(user_data: str) -> list[Any]:
    documents = [_load(text) for text in _parts(user_data)]
    return [d for d in documents if isinstance(d, dict) and d.get("kind") == "NodeConfig"]


def _parts(user_data: str) -> list[str]:
    if not user_data.lstrip().lower().startswith(("mime-version:", "content-type: multipart")):
        return [user_data]
    message: Message[str, str] = Parser().parsestr(user_data)
    parts = message.walk() if message.is_multipart() else [message]
    return [str(p.get_payload()) for p in parts if p.get_content_type() == CONTENT_TYPE]


def _load(text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise NoNodeConfig(f"the user data is no YAML: {error}") from None


def _labels(flag: str) -> dict[str, str]:
    found = _LABELS.fullmatch(flag)
    if found is None:
        return {}
    pairs = (pair.partition("=") for pair in found[1].strip('"').split(",") if pair)
    return {name: value for name, _, value in pairs}
