from __future__ import annotations

from typing import Any

import pytest

from tasks.rollout.strategy import choose, free_gpus

GPU = "nvidia.com/gpu"


def node(name: str, gpus: str | None = "1", *, cordoned: bool = False) -> dict[str, Any]:
    allocatable = {"cpu": "8"} | ({GPU: gpus} if gpus is not None else {})
    spec = {"unschedulable": True} if cordoned else {}
    return {"metadata": {"name": name}, "spec": spec, "status": {"allocatable": allocatable}}


def pod(on: str | None, gpus: str | None = "1", phase: str = "Running") -> dict[str, Any]:
    requests = {GPU: gpus} if gpus else {"cpu": "1"}
    spec: dict[str, Any] = {"containers": [{"name": "c", "resources": {"requests": requests}}]}
    if on:
        spec["nodeName"] = on
    return {"metadata": {"name": "p"}, "spec": spec, "status": {"phase": phase}}


@pytest.mark.parametrize(
    ("nodes", "pods", "free"),
    [
        ([node("a")], [], {"a": 1}),
        ([node("a", "4")], [pod("a", "2"), pod("a")], {"a": 1}),
        ([node("a")], [pod("a")], {"a": 0}),
        ([node("a")], [pod("a", phase="Pending")], {"a": 0}),  # bound: the GPU is taken
        ([node("a")], [pod("a", phase="Succeeded")], {"a": 1}),
        ([node("a")], [pod("a", phase="Failed")], {"a": 1}),
        ([node("a")], [pod(None, phase="Pending")], {"a": 1}),
        ([node("a")], [pod("a", None)], {"a": 1}),
        ([node("a"), node("b")], [pod("b")], {"a": 1, "b": 0}),
        ([node("a", cordoned=True)], [], {}),
        ([node("a", None)], [], {"a": 0}),  # its device plugin is not up yet
        ([], [pod("gone")], {}),
    ],
)
def test_gpus_nobody_has_requested(
    nodes: list[dict[str, Any]], pods: list[dict[str, Any]], free: dict[str, int]
) -> None:
    assert free_gpus(nodes, pods) == free


def test_a_container_without_resources_takes_no_gpu() -> None:
    bare = pod("a")
    bare["spec"]["containers"] = [{"name": "c"}]
    assert free_gpus([node("a")], [bare]) == {"a": 1}


@pytest.mark.parametrize(
    ("serving_on", "free", "needed", "strategy", "downtime"),
    [
        (None, {}, 1, "RollingUpdate", 0.0),
        ("a", {"a": 1}, 1, "RollingUpdate", 0.0),
        ("a", {"a": 3}, 4, "Recreate", 105.0),
        ("a", {"a": 4}, 4, "RollingUpdate", 0.0),
        ("a", {"a": 0}, 1, "Recreate", 105.0),
        ("a", {"a": 0, "b": 1}, 1, "Recreate", 105.0),  # b cannot reach the volume
        ("a", {"b": 1}, 1, "Recreate", 105.0),  # a is cordoned
    ],
)
def test_a_surge_needs_a_free_gpu_on_the_node_that_has_the_volume(
    serving_on: str | None, free: dict[str, int], needed: int, strategy: str, downtime: float
) -> None:
    plan = choose(
        serving_on=serving_on, free=free, gpus_needed=needed, start_seconds=100.0, drain_seconds=5.0
    )
    assert (plan.strategy, plan.downtime_seconds) == (strategy, downtime)


def test_a_plan_says_why_and_how_long_nobody_answers() -> None:
    plan = choose(serving_on="a", free={"a": 0, "b": 1}, gpus_needed=1, start_seconds=80, drain_seconds=10)
    assert str(plan) == (
        "Recreate: no GPU free on a, where the cache volume is attached (1 free elsewhere cannot reach it); "
        "expected downtime: about 1 min 30 s"
    )
