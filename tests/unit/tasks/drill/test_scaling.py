"""Drills of the scaler in a simulated cluster: clean ones raise no alarm, and each fault is found with its cause."""

from __future__ import annotations

import random
import re

import pytest

from tasks.records.drills import PROMISES, Drilled
from tests.support.builders import a_model, an_environment
from tests.support.drill_faults import PATCHED, Fault
from tests.support.drilled import Jitter, World, a_drill

LOADS_WITHIN = 120.0
SCALING = {"min_replicas": 1, "max_replicas": 2, "requests_per_replica": 2, "cooldown": "60s"}


def a_world(seed: int = 1, requests: int = 2) -> World:
    environment = an_environment(
        cluster={"gpu": {"provisioner": "karpenter", "consolidate_after": "60s"}},
        deadlines={"node_boot": "120s", "pod_start": "120s"},
    )
    model = a_model(scaling=SCALING | {"requests_per_replica": requests})
    return World(model, environment, Jitter(random.Random(seed)))


def drilled(world: World) -> list[Drilled]:
    return a_drill(world).run(LOADS_WITHIN, PROMISES)


@pytest.mark.parametrize("seed", range(50))
def test_a_clean_drill_raises_no_alarm(seed: int) -> None:
    found = drilled(a_world(seed, requests=1 + seed % 16))
    assert [(one.promise, one.outcome, one.cause) for one in found] == [
        ("scale-out", "kept", ""),
        ("scale-in", "kept", ""),
    ]


def test_the_states_are_told_in_order_with_their_seconds() -> None:
    out, back = drilled(a_world())
    assert [step.what for step in out.steps][-4:] == [
        "it is Ready",
        "the model's Service sends to it",
        "it answers requests",
        "either replica may be evicted",
    ]
    assert back.steps[-1].what == "its node is gone"
    seconds = [step.seconds for step in out.steps]
    assert seconds == sorted(seconds)


@pytest.mark.parametrize("fault", PATCHED, ids=lambda fault: fault.name)
def test_a_fault_that_looks_healthy_is_found_with_its_cause(fault: Fault) -> None:
    world = a_world()
    fault.change(world.thing(fault.kind))
    last = drilled(world)[-1]
    assert (last.promise, last.outcome) == (fault.promise, "broken")
    assert re.search(fault.cause, last.cause), last.cause
    assert last.next_command
    assert any(line.startswith("not within") for line in last.evidence)


def test_a_second_scaler_is_found_before_any_load() -> None:
    world = a_world()
    world.hpas.append({"metadata": {"name": "by-cpu"}, "spec": {"scaleTargetRef": {"name": world.workload}}})
    [out] = drilled(world)
    assert out.outcome == "broken"
    assert "by-cpu scales the Deployment vllm-llama beside KEDA" in out.cause
    assert "delete horizontalpodautoscaler by-cpu" in out.next_command
    assert out.steps == ()


def test_a_budget_that_blocks_every_drain_is_found() -> None:
    world = a_world()
    world.budgets.append(
        {"metadata": {"name": "none"}, "spec": {"maxUnavailable": 0, "selector": {"matchLabels": {"app": "vllm"}}}, "status": {"disruptionsAllowed": 0}}
    )  # fmt: skip
    [out] = drilled(world)
    assert out.outcome == "broken"
    assert out.cause == "none lets no replica be evicted though 2 run: no node can be drained"


def test_requests_that_fail_while_a_replica_goes_break_the_scale_in() -> None:
    world = a_world()
    world.failures = {"HTTP 502": 3}
    world.thing("Deployment")["spec"]["template"]["spec"]["containers"][0]["lifecycle"]["preStop"][
        "sleep"
    ] = {"seconds": 0}
    last = drilled(world)[-1]
    assert (last.promise, last.outcome) == ("scale-in", "broken")
    assert "3 of 100 requests failed while a replica went away: its preStop sleeps 0 s" in last.cause


def test_a_load_that_does_not_bring_the_demand_tells_nothing_about_the_model() -> None:
    world = a_world()
    world.weak = True
    [out] = drilled(world)
    assert out.outcome == "not now"
    assert out.cause == "the drill's load brought the demand to 1, and the target is 2"
