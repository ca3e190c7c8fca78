"""A release that takes over by surge or recreate, and what the run reports of it."""

from __future__ import annotations

import time

import pytest
from slipway_sandbox.testing import Faults

from tasks.records.errors import RolloutFailed
from tasks.records.strategy import Strategy
from tasks.rollout import restore
from tests.support.upgrades import Upgrades, all_answered
from tests.support.weights import shell_pod
from tests.support.workloads import NAMESPACE, on_nodes, phase, wait

pytestmark = pytest.mark.timeout(300)


def test_an_upgrade_with_a_spare_gpu_drops_no_request(one: Upgrades) -> None:
    with one.calling() as callers:
        told = one.roll_out().rollout
    all_answered(callers)
    assert told
    assert (told.strategy, told.gap_seconds, told.expected_gap_seconds) == (Strategy.SURGE, 0.0, 0.0)
    assert one.said("3 GPU free on")
    assert one.said("every question was answered, measured at the gateway; expected: none")


def test_the_gap_of_a_recreate_is_measured_beside_what_was_expected(one: Upgrades) -> None:
    with one.calling() as callers:
        told = one.roll_out(rollout={"strategy": "recreate"}).rollout
        time.sleep(1.0)
    assert told
    assert told.strategy is Strategy.RECREATE
    assert callers.failures
    assert told.gap_seconds
    assert told.gap_seconds == pytest.approx(callers.longest_gap, abs=2.0)
    assert told.expected_gap_seconds > 0
    assert one.said("downtime: nobody answered for ")


def test_what_will_be_done_is_said_before_anything_moves(one: Upgrades) -> None:
    model, before = one.a_release(rollout={"strategy": "recreate"}), one.applied()
    one.heard.lines.clear()
    one.stops_at_first_write(model)
    assert one.said("recreate: asked for; expected downtime: about ")
    plan = {row["what"]: row["plan"] for row in one.shown[f"rollout-{one.name}"]}
    assert (plan["strategy"], plan["why"], plan["first (canary)"]) == ("recreate", "asked for", "none")
    assert one.applied() == before
    restore.undo(one.context, model)


def test_a_start_is_told_in_its_phases_and_beside_the_last(one: Upgrades) -> None:
    last, record = one.roll_out(), one.roll_out()
    [first], [second] = last.starts, record.starts
    assert {
        "scheduled",
        "image",
        "container",
        "engine",
        "weights",
        "compile",
        "server",
        "first answer",
        "ready",
    } <= set(second.phases)
    assert second.phases["weights"] > 0.5
    assert one.said(": loading")
    assert one.said(f"cold start of release {record.release.id}: scheduled ")
    assert [row["phase"] for row in one.shown[f"start-{one.name}"]] == [*second.phases, "in all"]
    assert one.shown[f"start-{one.name}"][-1]["last time"] == f"{sum(first.phases.values()):.1f}"
    kept = one.ledger.record(record.release.id).starts
    assert [start.phases for start in kept] == [second.phases]


def test_a_start_that_is_slower_than_the_last_is_said(one: Upgrades, faults: Faults) -> None:
    faults.set("engine-slow-load", value=4, count=1)
    one.roll_out()
    assert one.said("slower than the last start by more than 25%: weights ")
    assert one.said("slower than the last start by more than 25%: the whole start ")


def test_a_strategy_the_gpus_do_not_allow_is_refused_with_nothing_moved(one: Upgrades) -> None:
    before = (one.serving, one.applied(), one.ledger.serving())
    hog = shell_pod("hog", on_nodes("four"), "sleep 600")
    gpus = {"requests": {"nvidia.com/gpu": "3"}, "limits": {"nvidia.com/gpu": "3"}}
    hog["spec"] = {**hog["spec"], "containers": [hog["spec"]["containers"][0] | {"resources": gpus}]}
    one.api.apply(hog)
    wait(lambda: phase(one.api, "hog") == "Running")
    try:
        model = one.a_release(rollout={"strategy": "blue-green"})
        with pytest.raises(RolloutFailed, match=r"blue-green needs 1 GPU free on .* and 0 are"):
            one.start(model)
        assert restore.undo(one.context, model) is None
    finally:
        one.api.delete("v1", "Pod", "hog", NAMESPACE)
        wait(lambda: one.api.get("v1", "Pod", "hog", NAMESPACE) is None)
    assert (one.serving, one.applied(), one.ledger.serving()) == before
