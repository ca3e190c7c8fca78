"""Drains that do not go on: nodes that are to go, and the PodDisruptionBudgets that let no pod leave them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tasks.cloud import objects
from tasks.cloud.kubernetes import Cluster, Object

BUDGET = ("policy/v1", "PodDisruptionBudget")


def blocked(cluster: Cluster, node_selector: str) -> list[str]:
    """The pods that budgets keep on GPU nodes which are to go, as lines with the numbers that decide.

    `node_selector`: label selector of the GPU nodes.
    """
    going = {
        objects.name(node)
        for node in cluster.list("v1", "Node", label_selector=node_selector)
        if objects.spec(node).get("unschedulable") or node["metadata"].get("deletionTimestamp")
    }
    if not going:
        return []
    pods = [pod for pod in cluster.list("v1", "Pod") if objects.node_of(pod) in going]
    return held(pods, cluster.list(*BUDGET))


def held(pods: Sequence[Object], budgets: Sequence[Object]) -> list[str]:
    """Which of the pods may not be evicted now, by which budget. Pure.

    A budget without room answers an eviction with 429 (policy/v1, `disruptionsAllowed`).
    """
    lines = []
    for budget in budgets:
        status = objects.status(budget)
        if status.get("disruptionsAllowed", 0) > 0:
            continue
        namespace = budget["metadata"].get("namespace")
        wanted = (objects.spec(budget).get("selector") or {}).get("matchLabels") or {}
        lines += [
            f"pod {namespace}/{objects.name(pod)} on {objects.node_of(pod)} waits for the PodDisruptionBudget "
            f"{objects.name(budget)}: {status.get('currentHealthy', 0)} healthy, {status.get('desiredHealthy', 0)} must stay"
            for pod in objects.staying(pods)
            if pod["metadata"].get("namespace") == namespace and _matches(pod, wanted)
        ]
    return lines


def _matches(pod: Object, wanted: Mapping[str, str]) -> bool:
    labels = pod["metadata"].get("labels") or {}
    return bool(wanted) and all(labels.get(key) == value for key, value in wanted.items())
