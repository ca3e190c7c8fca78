"""Which GPU nodes a pod needs or prefers: by its volume's zone, the home zone, and what EC2 had last. Pure.

Karpenter takes the heaviest preference for a requirement and drops it where no node can meet it (kubernetes-sigs/karpenter
2266468, pkg/controllers/provisioning/scheduling/preferences.go), so an order of preferences is a ladder of what to try.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tasks.records.gpu_nodes import GpuNodes

ZONE = "topology.kubernetes.io/zone"
HOME_WEIGHT, LAST_WEIGHT = 50, 100


def zone_preferences(gpu: GpuNodes) -> list[dict[str, Any]]:
    """The preference for `cluster.gpu.zone`; none where there is no other."""
    return [preference({ZONE: gpu.zone or ""}, HOME_WEIGHT)] if gpu.other_zones else []


def preference(labels: Mapping[str, str], weight: int) -> dict[str, Any]:
    """A preferred term of node affinity: nodes with all of these labels."""
    return {"weight": weight, "preference": {"matchExpressions": expressions(labels)}}


def expressions(labels: Mapping[str, str]) -> list[dict[str, Any]]:
    return [{"key": key, "operator": "In", "values": [value]} for key, value in sorted(labels.items())]


def affinity(
    preferences: Sequence[Mapping[str, Any]], required: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """A pod's nodeAffinity of preferred terms, and of labels that the node must have; empty where there is neither."""
    found: dict[str, Any] = {}
    if required:
        term = {"matchExpressions": expressions(required)}
        found["requiredDuringSchedulingIgnoredDuringExecution"] = {"nodeSelectorTerms": [term]}
    if preferences:
        found["preferredDuringSchedulingIgnoredDuringExecution"] = list(preferences)
    return {"nodeAffinity": found} if found else {}


def zone_of_volume(volume: Mapping[str, Any]) -> str:
    """The zone that a PersistentVolume can be attached in; empty where it can be anywhere."""
    terms = volume["spec"].get("nodeAffinity", {}).get("required", {}).get("nodeSelectorTerms") or ()
    zones = [
        str(value)
        for term in terms
        for expression in term.get("matchExpressions") or ()
        if expression["key"].endswith("/zone")
        for value in expression.get("values") or ()
    ]
    return zones[0] if zones else ""
