from __future__ import annotations

from typing import Any

import pytest

from tasks.records.errors import RolloutFailed
from tasks.records.model import HowToRollOut
from tasks.records.strategy import Strategy
from tasks.rollout.strategy import Present, RolloutPlan, canary_size, choose, free_gpus, under_way

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
    ("free", "replicas", "strategy", "taken"),
    [
        (1, 1, "auto", Strategy.BLUE_GREEN),
        (2, 2, "auto", Strategy.BLUE_GREEN),
        (1, 2, "auto", Strategy.SURGE),  # not all of both at once
        (0, 1, "auto", Strategy.RECREATE),
        (1, 1, "surge", Strategy.SURGE),
        (1, 0, "auto", Strategy.ROLLING),  # nothing to compare with
    ],
)
def test_pairs_are_asked_by_blue_green_where_gpus_are_free_for_it(
    free: int, replicas: int, strategy: str, taken: Strategy
) -> None:
    how = HowToRollOut.model_validate({"strategy": strategy, "pairs": {}})
    now = Present(replicas=replicas, on="a", free={"a": free}, gpus_each=1)
    assert choose(how, now, start_seconds=1.0, drain_seconds=1.0).strategy is taken


def chosen(now: Present, strategy: str = "auto", canary: float | None = None) -> Any:
    how = HowToRollOut.model_validate({"strategy": strategy, "canary": canary})
    return choose(how, now, start_seconds=100.0, drain_seconds=5.0)


@pytest.mark.parametrize(
    ("replicas", "free", "needed", "strategy", "downtime"),
    [
        (0, {}, 1, "rolling", 0.0),
        (1, {"a": 1}, 1, "surge", 0.0),
        (1, {"a": 3}, 4, "recreate", 105.0),
        (1, {"a": 4}, 4, "surge", 0.0),
        (1, {"a": 0}, 1, "recreate", 105.0),
        (1, {"a": -1}, 1, "recreate", 105.0),  # a GPU of the node fell ill
        (1, {"a": 0, "b": 1}, 1, "recreate", 105.0),  # b cannot reach the volume
        (1, {"b": 1}, 1, "recreate", 105.0),  # a is cordoned
    ],
)
def test_a_surge_needs_a_free_gpu_on_the_node_that_has_the_volume(
    replicas: int, free: dict[str, int], needed: int, strategy: str, downtime: float
) -> None:
    plan = chosen(Present(replicas, "a", free, needed))
    assert (plan.strategy, plan.downtime_seconds) == (strategy, downtime)


@pytest.mark.parametrize(
    ("replicas", "free", "canary", "expected"),
    [
        # replicas with a claim each: (surge, unavailable, canary)
        (2, {"a": 0, "b": 1}, None, (1, 0, 1)),
        (4, {"a": 2, "b": 2}, 0.5, (2, 0, 2)),
        (4, {"a": 1}, 0.5, (1, 0, 1)),  # no more than there is room for
        (4, {"a": 4}, 0, (1, 0, 0)),
        (4, {"a": 0}, 0.5, (0, 2, 2)),  # they make room for the new ones
        (3, {}, 0, (0, 1, 0)),
        (1, {"b": 1}, None, (1, 0, 0)),
    ],
)
def test_several_replicas_go_over_a_few_at_a_time_and_never_all_at_once(
    replicas: int, free: dict[str, int], canary: float | None, expected: tuple[int, int, int]
) -> None:
    plan = chosen(Present(replicas, None, free, 1), canary=canary)
    assert (plan.strategy, plan.downtime_seconds) == ("surge" if expected[0] else "rolling", 0.0)
    assert (plan.surge, plan.unavailable, plan.canary) == expected


@pytest.mark.parametrize(
    ("replicas", "more", "free", "strategy", "unavailable"),
    [
        (1, 1, {"a": 0, "b": 2}, "surge", 0),
        (
            1,
            1,
            {"a": 0, "b": 1},
            "rolling",
            1,
        ),  # the added replica takes the free GPU, none is left for a surge
        (1, 2, {"a": 0, "b": 1}, "rolling", 2),
        (1, 1, {"a": 0}, "recreate", 0),
        (2, 2, {"a": 1}, "rolling", 2),
        (2, 1, {"a": 0}, "rolling", 2),
    ],
)
def test_replicas_that_are_added_take_free_gpus_first(
    replicas: int, more: int, free: dict[str, int], strategy: str, unavailable: int
) -> None:
    plan = chosen(Present(replicas, None, free, 1, more))
    assert (plan.strategy, plan.unavailable) == (strategy, unavailable)
    if plan.strategy == "rolling":
        # the pods that are there, the new ones that find a GPU: the bound lets one of the old go
        ready = replicas + min(sum(free.values()), more)
        assert ready - 1 >= replicas + more - plan.unavailable


@pytest.mark.parametrize(
    ("share", "replicas", "first"),
    [
        (None, 1, 0),
        (1.0, 1, 0),
        (None, 2, 1),
        (None, 10, 1),
        (0.0, 10, 0),
        (0.1, 2, 1),
        (0.25, 10, 3),
        (1.0, 3, 2),
    ],
)
def test_a_canary_is_a_share_of_several_replicas_and_never_all(
    share: float | None, replicas: int, first: int
) -> None:
    assert canary_size(share, replicas) == first


@pytest.mark.parametrize(
    ("strategy", "now", "plan"),
    [
        ("recreate", Present(1, "a", {"a": 4}, 1), "recreate"),
        ("surge", Present(1, "a", {"a": 1}, 1), "surge"),
        ("blue-green", Present(1, "a", {"a": 1}, 1), "blue-green"),
        ("blue-green", Present(2, None, {"a": 1, "b": 1}, 1), "blue-green"),
        ("blue-green", Present(0, None, {}, 1), "rolling"),  # nothing to switch from
    ],
)
def test_what_is_asked_for_is_done_where_the_gpus_allow_it(strategy: str, now: Present, plan: str) -> None:
    assert chosen(now, strategy).strategy == plan


@pytest.mark.parametrize(
    ("strategy", "now", "said"),
    [
        ("surge", Present(1, "a", {"a": 0, "b": 1}, 1), "surge needs 1 GPU free on a, .* and 0 are"),
        ("blue-green", Present(1, "a", {"a": 1}, 2), "blue-green needs 2 GPU free on a, .* and 0 are"),
        ("blue-green", Present(3, None, {"a": 1, "b": 1}, 1), "needs 3 GPU .* GPU nodes, .* and 2 are"),
    ],
)
def test_what_is_asked_for_and_not_affordable_is_refused_with_the_gpus_that_lack(
    strategy: str, now: Present, said: str
) -> None:
    with pytest.raises(RolloutFailed, match=said) as caught:
        chosen(now, strategy)
    assert caught.value.evidence == (str(now),)
    assert "rollout.strategy: auto" in str(caught.value.next_command)


def test_a_plan_says_why_and_how_long_nobody_answers() -> None:
    now = Present(1, "a", {"a": 0, "b": 1}, 1)
    plan = choose(HowToRollOut(), now, start_seconds=80, drain_seconds=10)
    assert str(plan) == (
        "recreate: no GPU free on a, where the cache volume is (1 free elsewhere cannot reach it); "
        "expected downtime: about 1 min 30 s"
    )


def test_a_plan_with_a_canary_says_how_many_go_first() -> None:
    assert "; 2 first, the rest after its gate; expected downtime: none" in str(
        chosen(Present(4, None, {"a": 2}, 1), canary=0.5)
    )


def test_a_plan_is_a_table_too() -> None:
    plan = RolloutPlan(Strategy.SURGE, "2 GPU free on n", surge=2, canary=2)
    assert [row["plan"] for row in plan.rows()] == ["surge", "2 GPU free on n", "2 replicas", "none"]
    assert RolloutPlan(Strategy.RECREATE, "asked for", 90.0).rows()[-1] == {
        "what": "expected downtime",
        "plan": "about 1 min 30 s",
    }


@pytest.mark.parametrize(
    ("strategy", "surge", "unavailable", "written"),
    [
        (Strategy.SURGE, 2, 0, (2, 0)),
        (Strategy.ROLLING, 0, 2, (0, 2)),
        (Strategy.RECREATE, 1, 0, None),
        (Strategy.BLUE_GREEN, 1, 0, None),
    ],
)
def test_a_plan_is_the_deployments_strategy(
    strategy: Any, surge: int, unavailable: int, written: tuple[int, int] | None
) -> None:
    plan = RolloutPlan(strategy, "why", surge=surge, unavailable=unavailable)
    if written is None:
        assert plan.deployment_strategy == {"type": "Recreate"}
    else:
        bounds = {"maxSurge": written[0], "maxUnavailable": written[1]}
        assert plan.deployment_strategy == {"type": "RollingUpdate", "rollingUpdate": bounds}


@pytest.mark.parametrize(
    ("spec", "updated", "plan"),
    [
        ({}, None, (Strategy.SURGE, 1, 0, 0)),
        ({"strategy": {"type": "Recreate"}}, 1, (Strategy.RECREATE, 1, 0, 0)),
        (
            {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 2, "maxUnavailable": 0}}},
            1,
            (Strategy.SURGE, 2, 0, 0),
        ),
        (
            {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}}},
            1,
            (Strategy.ROLLING, 0, 1, 0),
        ),
        ({"paused": True}, 2, (Strategy.SURGE, 1, 0, 2)),  # it stands at its canary
        ({"paused": True}, None, (Strategy.SURGE, 1, 0, 1)),
    ],
)
def test_a_rollout_under_way_goes_on_as_its_deployment_says(
    spec: dict[str, Any], updated: int | None, plan: tuple[Any, int, int, int]
) -> None:
    found = under_way({"spec": spec, "status": {"updatedReplicas": updated}})
    assert (found.strategy, found.surge, found.unavailable, found.canary) == plan
