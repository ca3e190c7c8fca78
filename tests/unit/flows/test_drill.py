"""The drill of what serves: what is kept, what ends it as a failure, and what it puts back."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

import flows.drill
import flows.run.awake
import flows.run.interrupting
import flows.run.runbook
from flows.drill import drill
from tasks.records.drills import Drilled
from tasks.records.errors import InputError, Interrupted, NothingDeployed, PromiseBroken, RolloutFailed
from tasks.records.results import IdleDecision, ScaledDown, Served
from tasks.releases.promises import No
from tests.support.builders import ROOT
from tests.support.stage import RECORD, SITE, Stage

IDLE = IdleDecision(act=True, reason="quiet", evidence=())
KEPT = Drilled(promise="scale-out", outcome="kept", at=datetime.now(UTC), release="r1")
BROKEN = KEPT.model_copy(
    update={"outcome": "broken", "cause": "paused", "evidence": ("seen",), "next_command": "kubectl"}
)


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    monkeypatch.setenv("SLIPWAY_HOME", str(ROOT))
    stage = Stage(monkeypatch)
    monkeypatch.setattr(flows.drill, "turn", stage.turn)
    monkeypatch.setattr(flows.run.runbook, "show_markdown", lambda key, text, title: stage.shown.append(text))
    results = {
        "read_infrastructure": SITE,
        "serving_release": RECORD,
        "drill_scaling": [KEPT],
        "keep_drilled": None,
    }
    interrupting = {
        "judge_idle": IDLE,
        "may_interrupt": None,
        "replicas_to_zero": ScaledDown(asleep=True, holders=()),
        "no_gpu_nodes": None,
        "gpu_nodes": ["node"],
        "replicas_from_zero": None,
        "confirm": " hello",
        "previous_release": "r0",
        "put_back": "r0",
    }
    stage.does(flows.run.awake, "list_served", [Served(model="tiny-llama", release="0123", replicas=1)])
    for name, result in results.items():
        stage.does(flows.drill, name, result)
    for name, result in interrupting.items():
        stage.does(flows.run.interrupting, name, result)
    return stage


def outcomes(stage: Stage) -> dict[str, str]:
    """What was written into the ledger."""
    kept: list[Drilled] = stage.recorded.arguments["keep_drilled"][-1]
    return {one.promise: one.outcome for one in kept}


def test_each_promise_is_drilled_and_kept(stage: Stage) -> None:
    drill.fn("staging", None, [], False)
    assert outcomes(stage) == {"wake": "kept", "rollback": "kept", "scale-out": "kept"}
    assert stage.recorded.called[-1] == "keep_drilled"


def test_a_broken_promise_ends_the_run_with_its_cause_once_all_are_kept(stage: Stage) -> None:
    stage.does(flows.drill, "drill_scaling", [BROKEN])
    with pytest.raises(PromiseBroken) as failed:
        drill.fn("staging", "tiny-llama", ["scale-out"], False)
    assert failed.value.cause == "tiny-llama in staging: scale-out did not act: paused"
    assert (failed.value.evidence, failed.value.next_command) == (("seen",), "kubectl")
    assert outcomes(stage) == {"scale-out": "broken"}


def test_a_wake_that_fails_is_broken_and_leaves_the_scaler_in_charge(stage: Stage) -> None:
    stage.does(
        flows.run.interrupting, "gpu_nodes", RolloutFailed("no node", next_command="kubectl get nodes")
    )
    with pytest.raises(PromiseBroken, match="wake did not act: no node") as failed:
        drill.fn("staging", "tiny-llama", ["wake", "rollback"], False)
    assert stage.recorded.called[-2:] == ["replicas_from_zero", "keep_drilled"]
    assert "is down" in failed.value.evidence[-1]
    assert outcomes(stage) == {"wake": "broken", "rollback": "not now"}
    assert "put_back" not in stage.recorded.called


def test_a_request_that_comes_first_puts_the_drill_off(stage: Stage) -> None:
    stage.does(flows.run.interrupting, "replicas_to_zero", ScaledDown(asleep=False, holders=()))
    drill.fn("staging", "tiny-llama", ["wake"], False)
    assert outcomes(stage) == {"wake": "not now"}
    assert "no_gpu_nodes" not in stage.recorded.called


def test_an_interruption_is_no_broken_promise(stage: Stage) -> None:
    stage.does(flows.run.interrupting, "gpu_nodes", Interrupted("interrupted"))
    with pytest.raises(Interrupted):
        drill.fn("staging", "tiny-llama", ["wake"], False)
    assert "replicas_from_zero" in stage.recorded.called
    assert outcomes(stage) == {}


def test_a_rollback_that_fails_is_turned_back(stage: Stage) -> None:
    stage.does(flows.run.interrupting, "confirm", RolloutFailed("no answer"))
    with pytest.raises(PromiseBroken, match="rollback did not act: no answer"):
        drill.fn("staging", "tiny-llama", ["rollback"], False)
    assert stage.recorded.called.count("put_back") == 2
    assert stage.recorded.arguments["put_back"][-1] == RECORD.release.id


def test_what_is_in_use_is_not_interrupted(stage: Stage) -> None:
    stage.does(flows.run.interrupting, "may_interrupt", No("not now", "in use"))
    drill.fn("staging", "tiny-llama", ["wake", "rollback"], False)
    assert outcomes(stage) == {"wake": "not now", "rollback": "not now"}
    assert {"replicas_to_zero", "put_back"}.isdisjoint(stage.recorded.called)


def test_a_model_that_sleeps_is_left_asleep(stage: Stage) -> None:
    stage.does(flows.run.awake, "list_served", [Served(model="tiny-llama", release="0123", replicas=0)])
    with pytest.raises(NothingDeployed, match="no replica of tiny-llama serves"):
        drill.fn("staging", "tiny-llama", [], False)
    assert drill.fn("staging", None, [], False) == {}
    assert "serving_release" not in stage.recorded.called


def test_a_protected_environment_is_refused_before_anything(stage: Stage) -> None:
    given: dict[str, Any] = {"model": None, "promises": [], "in_protected": False}
    with pytest.raises(InputError, match="production is protected"):
        drill.fn("production", **given)
    assert stage.recorded.called == []
