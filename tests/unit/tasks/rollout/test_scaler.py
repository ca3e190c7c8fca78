"""The scaler's part of the gate: what keeps KEDA and its HPA from scaling, as a table and over time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tasks.cloud.autoscaler import obstacle_of
from tasks.cloud.waiting import Time
from tasks.records.errors import RolloutFailed
from tasks.releases.ledger import Ledger
from tasks.rollout.context import RolloutContext
from tasks.rollout.scaler import wait_until_scaling
from tests.support.builders import a_model, an_environment
from tests.support.clock import Clock
from tests.support.heard import Heard

NAME, NAMESPACE = "vllm-llama", "llm"


def a_condition(kind: str, status: str = "True", message: str = "fine") -> dict[str, str]:
    return {"type": kind, "status": status, "reason": "Why", "message": message}


def a_scaled_object(*conditions: dict[str, str], **annotations: str) -> Any:
    held = {f"autoscaling.keda.sh/{key.replace('_', '-')}": value for key, value in annotations.items()}
    return {
        "metadata": {"name": NAME, "annotations": held},
        "status": {"hpaName": f"keda-hpa-{NAME}", "conditions": conditions or (a_condition("Ready"),)},
    }


def an_hpa(
    *conditions: dict[str, str], name: str = f"keda-hpa-{NAME}", target: str = NAME, value: str | None = "0m"
) -> Any:
    metrics = [{"type": "External", "external": {"current": {"averageValue": value}}}] if value else []
    fine = (a_condition("AbleToScale"), a_condition("ScalingActive"))
    return {
        "metadata": {"name": name},
        "spec": {"scaleTargetRef": {"kind": "Deployment", "name": target}},
        "status": {"conditions": conditions or fine, "currentMetrics": metrics},
    }


UNREAD = an_hpa(a_condition("AbleToScale"), a_condition("ScalingActive", "False", "no metrics returned"))
UNABLE = an_hpa(a_condition("AbleToScale", "False", "no matches"), a_condition("ScalingActive"))
ANOTHER = an_hpa(name="mine")
READY = a_scaled_object()


@pytest.mark.parametrize(
    ("scaled", "autoscalers", "cause", "evidence"),
    [
        (None, [], "there is no ScaledObject vllm-llama", ""),
        (a_scaled_object(paused="true"), [an_hpa()], "is paused by autoscaling.keda.sh/paused", ""),
        (a_scaled_object(paused_scale_out="true"), [an_hpa()], "is paused by .*paused-scale-out", ""),
        (a_scaled_object(paused_replicas="0"), [], "is paused by .*paused-replicas", ""),
        (
            a_scaled_object(a_condition("Ready", "False", "triggers do not work")),
            [an_hpa()],
            "KEDA does not call",
            "triggers do not work",
        ),
        (READY, [], "has not made the HPA keda-hpa-vllm-llama", ""),
        (READY, [an_hpa(target="other")], "has not made the HPA", ""),
        (READY, [an_hpa(), ANOTHER], "mine scales the Deployment vllm-llama beside KEDA", ""),
        (READY, [UNABLE], "cannot scale the Deployment", "no matches"),
        (READY, [UNREAD], "gets no demand from KEDA's metrics API", "no metrics returned"),
        (READY, [an_hpa(value=None)], "gets no demand from KEDA's metrics API", "ScalingActive True"),
    ],
)
def test_what_keeps_a_workload_from_being_scaled_is_told(
    scaled: Any, autoscalers: list[Any], cause: str, evidence: str
) -> None:
    obstacle = obstacle_of(NAME, NAMESPACE, scaled, autoscalers)
    assert obstacle
    with pytest.raises(RolloutFailed, match=cause):
        raise obstacle.error()
    assert evidence in "".join(obstacle.evidence)
    assert obstacle.next_command.startswith("kubectl")


def test_a_pause_that_is_false_is_none() -> None:
    assert obstacle_of(NAME, NAMESPACE, a_scaled_object(paused="false"), [an_hpa()]) is None


def test_an_hpa_that_reads_a_demand_of_zero_scales() -> None:
    others = [an_hpa(name="theirs", target="their-own")]
    assert obstacle_of(NAME, NAMESPACE, READY, [*others, an_hpa(value="0m")]) is None


def wait(clock: Clock, heard: Heard, seen: Callable[[float], tuple[Any, list[Any]]], most: int = 2) -> float:
    """Wait over a cluster in which `seen(seconds)` are the ScaledObject and the HPAs; the seconds it took."""
    began = clock.now

    class Cluster:
        def get(self, *_: str) -> Any:
            return seen(clock.now - began)[0]

        def list(self, *_: str) -> Any:
            return seen(clock.now - began)[1]

    api: Any = Cluster()
    ledger = Ledger(None, "none", "test", "llama")
    time = Time(clock, clock.sleep)
    environment = an_environment(scrape_interval="1s")
    context = RolloutContext(Path(), api, environment, ledger, heard, time=time)
    wait_until_scaling(context, a_model(scaling={"max_replicas": most}))
    return clock.now - began


def test_what_the_hpa_said_before_the_rollout_is_not_taken_for_its_next_look(
    clock: Clock, heard: Heard
) -> None:
    with pytest.raises(RolloutFailed, match="gets no demand"):
        wait(clock, heard, lambda at: (READY, [an_hpa()] if at < 14 else [UNREAD]))


def test_an_hpa_that_comes_late_and_stays_passes(clock: Clock, heard: Heard) -> None:
    took = wait(clock, heard, lambda at: (READY, [] if at < 20 else [an_hpa()]))
    assert 40 <= took <= 42
    assert heard.lines[-1].endswith("1 to 2 replicas")


def test_a_second_scaler_is_told_at_once(clock: Clock, heard: Heard) -> None:
    began = clock.now
    with pytest.raises(RolloutFailed, match="beside KEDA"):
        wait(clock, heard, lambda at: (READY, [an_hpa(), ANOTHER]))
    assert clock.now == began


def test_nothing_is_asked_where_nothing_scales(clock: Clock, heard: Heard) -> None:
    assert wait(clock, heard, lambda at: (None, []), most=1) == 0
