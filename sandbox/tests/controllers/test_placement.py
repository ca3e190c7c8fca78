"""Where a pod goes and what is said when it goes nowhere: tables over snapshots."""

from __future__ import annotations

import pytest

from slipway_sandbox.controllers.objects import Object
from slipway_sandbox.controllers.placement import Placed, Unschedulable, decide_placement
from slipway_sandbox.controllers.snapshot import take_snapshot
from tests.controllers.builders import LATE, claim, node, pod


def message(verdict: Placed | Unschedulable) -> str:
    assert isinstance(verdict, Unschedulable)
    return verdict.message


@pytest.mark.parametrize(
    ("incoming", "there", "reason", "tail"),
    [
        (
            pod("p", requests={"cpu": "8"}),
            [],
            "Insufficient cpu",
            "1 Preemption is not helpful for scheduling",
        ),
        (
            pod("p", requests={"cpu": "3"}),
            [pod("q", "a", requests={"cpu": "2"})],
            "Insufficient cpu",
            "1 No preemption victims found for incoming pod",
        ),
        (
            pod("p"),
            [pod(f"q{i}", "a") for i in range(10)],
            "Too many pods",
            "1 No preemption victims found for incoming pod",
        ),
        (
            pod("p", nodeSelector={"pool": "gpu"}),
            [],
            "node(s) didn't match Pod's node affinity/selector",
            "1 Preemption is not helpful for scheduling",
        ),
    ],
)
def test_the_reason_and_whether_preemption_would_help_are_said(
    incoming: Object, there: list[Object], reason: str, tail: str
) -> None:
    verdict = decide_placement(incoming, take_snapshot([node("a")], there))
    assert (
        message(verdict)
        == f"0/1 nodes are available: 1 {reason}. preemption: 0/1 nodes are available: {tail}."
    )


def affinity(kind: str, key: str = "host") -> Object:
    term = {"labelSelector": {"matchLabels": {"app": "x"}}, "topologyKey": key}
    return {kind: {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}


def test_anti_affinity_keeps_two_of_a_kind_off_one_node() -> None:
    there = [pod("q", "a", labels={"app": "x"})]
    incoming = pod("p", labels={"app": "x"}, affinity=affinity("podAntiAffinity"))
    verdict = decide_placement(incoming, take_snapshot([node("a"), node("b")], there))
    assert isinstance(verdict, Placed)
    assert verdict.node == "b"


def test_anti_affinity_of_the_pod_that_is_there_counts_too() -> None:
    there = [pod("q", "a", affinity=affinity("podAntiAffinity"))]
    verdict = decide_placement(pod("p", labels={"app": "x"}), take_snapshot([node("a")], there))
    assert "1 node(s) didn't satisfy existing pods anti-affinity rules" in message(verdict)


def test_affinity_follows_its_kind_into_the_zone_but_lets_the_first_one_in() -> None:
    nodes = [node("a", zone="1"), node("b", zone="2"), node("c", zone="2")]
    incoming = pod("p", labels={"app": "x"}, affinity=affinity("podAffinity", "zone"))
    assert isinstance(decide_placement(incoming, take_snapshot(nodes, [])), Placed)
    there = [pod("q", "b", labels={"app": "x"}, requests={"cpu": "4"})]
    verdict = decide_placement(incoming, take_snapshot(nodes, there))
    assert isinstance(verdict, Placed)
    assert verdict.node == "c"


def test_a_spread_constraint_refuses_the_fuller_zone() -> None:
    constraint = {
        "maxSkew": 1,
        "topologyKey": "zone",
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": "x"}},
    }
    nodes = [node("a", zone="1"), node("b", zone="2", cpu="1")]
    there = [pod("q", "a", labels={"app": "x"})]
    incoming = pod("p", labels={"app": "x"}, topologySpreadConstraints=[constraint])
    verdict = decide_placement(incoming, take_snapshot(nodes, there))
    assert isinstance(verdict, Placed)
    assert verdict.node == "b"


def test_a_preferred_node_wins_over_a_fuller_one() -> None:
    preference = {"matchExpressions": [{"key": "host", "operator": "In", "values": ["b"]}]}
    preferred = {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "preference": preference}]}
    incoming = pod("p", affinity={"nodeAffinity": preferred})
    verdict = decide_placement(incoming, take_snapshot([node("a"), node("b")], []))
    assert isinstance(verdict, Placed)
    assert verdict.node == "b"


def test_a_late_claim_that_no_zone_may_hold_is_said() -> None:
    allowed = {"matchLabelExpressions": [{"key": "zone", "values": ["9"]}]}
    mounts = [{"name": "d", "persistentVolumeClaim": {"claimName": "data"}}]
    seen = take_snapshot(
        [node("a", zone="1")], [], claims=[claim()], classes=[LATE | {"allowedTopologies": [allowed]}]
    )
    said = message(decide_placement(pod("p", volumes=mounts), seen))
    assert "1 node(s) didn't find available persistent volumes to bind" in said
