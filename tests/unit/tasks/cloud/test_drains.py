from __future__ import annotations

from typing import Any

import pytest

from tasks.cloud.drains import blocked, held


def a_pod(name: str, namespace: str = "llm", **labels: str) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": {"nodeName": "gpu-0"},
        "status": {"phase": "Running"},
    }


def a_budget(allowed: int, **labels: str) -> dict[str, Any]:
    return {
        "metadata": {"name": "vllm-a", "namespace": "llm"},
        "spec": {"selector": {"matchLabels": labels}},
        "status": {"disruptionsAllowed": allowed, "currentHealthy": 1, "desiredHealthy": 1},
    }


SAID = "pod llm/a on gpu-0 waits for the PodDisruptionBudget vllm-a: 1 healthy, 1 must stay"


@pytest.mark.parametrize(
    ("pod", "budget", "lines"),
    [
        (a_pod("a", app="vllm"), a_budget(0, app="vllm"), [SAID]),
        (a_pod("a", app="vllm"), a_budget(1, app="vllm"), []),
        (a_pod("a", app="other"), a_budget(0, app="vllm"), []),
        (a_pod("a", "kube-system", app="vllm"), a_budget(0, app="vllm"), []),
    ],
)
def test_a_budget_without_room_holds_the_pods_it_selects(
    pod: dict[str, Any], budget: dict[str, Any], lines: list[str]
) -> None:
    assert held([pod], [budget]) == lines


@pytest.mark.parametrize(
    ("node", "lines"),
    [
        ({"metadata": {"name": "gpu-0"}}, []),
        ({"metadata": {"name": "gpu-0"}, "spec": {"unschedulable": True}}, [SAID]),
        ({"metadata": {"name": "gpu-0", "deletionTimestamp": "2026-11-30T10:00:00Z"}}, [SAID]),
    ],
)
def test_only_a_node_that_is_to_go_is_looked_at(node: dict[str, Any], lines: list[str]) -> None:
    there = {
        "Node": [node],
        "Pod": [a_pod("a", app="vllm")],
        "PodDisruptionBudget": [a_budget(0, app="vllm")],
    }

    class Cluster:
        def list(self, api: str, kind: str, label_selector: str = "") -> Any:
            return there[kind]

    cluster: Any = Cluster()
    assert blocked(cluster, "workload=gpu") == lines
