"""The judgement of every model that serves in an environment."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

import flows.idle
from flows.idle import idle
from tasks.records.errors import ClusterBusy
from tasks.records.results import IdleDecision, ScaledDown, Served
from tests.support.builders import ROOT
from tests.support.stage import SITE, Stage

IDLE = IdleDecision(act=True, reason="nobody asks", evidence=())
USED = IdleDecision(act=False, reason="asked", evidence=())


def served(name: str, replicas: int = 1, rolling: str | None = None) -> Served:
    return Served(model=name, release="0123", replicas=replicas, rolling=rolling)


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    monkeypatch.setenv("SLIPWAY_HOME", str(ROOT))
    stage = Stage(monkeypatch)
    monkeypatch.setattr(flows.idle, "turn", lambda environment, give_way: stage.turn(environment))
    stage.does(flows.idle, "read_infrastructure", SITE)
    stage.does(flows.run.awake, "list_served", [served("tiny-llama"), served("llama-3-1-8b-instruct")])
    stage.does(flows.idle, "replicas_to_zero", ScaledDown())
    stage.does(flows.idle, "no_gpu_nodes")
    stage.does(flows.idle, "keep_starts", [])
    stage.does(flows.idle, "meter_instances", 1.0)
    stage.does(flows.idle, "judge_idle", IDLE)
    return stage


def test_every_model_that_serves_is_judged_and_the_nodes_go_once(stage: Stage) -> None:
    assert idle.fn("staging") == {"tiny-llama": IDLE, "llama-3-1-8b-instruct": IDLE}
    assert stage.recorded.called.count("no_gpu_nodes") == 1


def test_one_that_is_used_stays_and_so_do_the_nodes(stage: Stage) -> None:
    stage.does(flows.idle, "judge_idle", USED)
    assert set(idle.fn("staging").values()) == {USED}
    assert not {"replicas_to_zero", "no_gpu_nodes"} & {*stage.recorded.called}


def test_the_nodes_stay_while_anybody_holds_a_gpu(stage: Stage) -> None:
    stage.does(flows.idle, "replicas_to_zero", ScaledDown(holders=("other/pod",)))
    idle.fn("staging")
    assert "no_gpu_nodes" not in stage.recorded.called


def test_one_that_a_request_wakes_meanwhile_is_left_and_so_are_the_nodes(stage: Stage) -> None:
    stage.does(flows.idle, "replicas_to_zero", ScaledDown(asleep=False))
    assert {decision.act for decision in idle.fn("staging").values()} == {False}
    assert "no_gpu_nodes" not in stage.recorded.called


@pytest.mark.parametrize("found", [[], [served("tiny-llama", 0)], [served("tiny-llama", rolling="4567")]])
def test_what_sleeps_or_is_being_rolled_out_is_not_judged(stage: Stage, found: list[Served]) -> None:
    stage.does(flows.run.awake, "list_served", found)
    assert idle.fn("staging") == {}
    assert "judge_idle" not in stage.recorded.called


def test_a_cluster_somebody_works_on_is_left(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    def busy(environment: Any, give_way: bool) -> Any:
        assert give_way
        raise ClusterBusy("deploy works on this cluster")

    monkeypatch.setattr(flows.idle, "turn", busy)
    monkeypatch.setattr(flows.idle, "get_run_logger", lambda: SimpleNamespace(info=lambda *of, **more: None))
    assert idle.fn("staging") == {}
    assert stage.recorded.called == []
