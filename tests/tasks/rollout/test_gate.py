from __future__ import annotations

from typing import Any

import pytest

from tasks.rollout.gate import phase_of, release_pods, selector_of, start_phases
from tasks.rollout.manifests import RELEASE_ANNOTATION

CREATED = "2025-01-01T00:00:00Z"


def condition(kind: str, at: str, status: str = "True") -> dict[str, str]:
    return {"type": kind, "status": status, "lastTransitionTime": at}


def a_pod(
    *conditions: dict[str, str], state: dict[str, Any] | None = None, **metadata: Any
) -> dict[str, Any]:
    status: dict[str, Any] = {"conditions": list(conditions)}
    if state is not None:
        status["containerStatuses"] = [{"name": "vllm", "state": state}]
    return {"metadata": {"name": "p", "creationTimestamp": CREATED, **metadata}, "status": status}


SCHEDULED = condition("PodScheduled", "2025-01-01T00:00:02Z")
RUNNING = {"running": {"startedAt": "2025-01-01T00:00:10Z"}}
READY = condition("Ready", "2025-01-01T00:01:10Z")
UNREADY = condition("Ready", "2025-01-01T00:00:02Z", "False")


@pytest.mark.parametrize(
    ("pods", "phase"),
    [
        ([], "creating"),
        ([a_pod()], "unscheduled"),
        ([a_pod(condition("PodScheduled", CREATED, "False"))], "unscheduled"),
        ([a_pod(SCHEDULED)], "image or volume"),
        ([a_pod(SCHEDULED, state={"waiting": {"reason": "ContainerCreating"}})], "image or volume"),
        ([a_pod(SCHEDULED, UNREADY, state=RUNNING)], "loading"),
        ([a_pod(SCHEDULED, READY, state=RUNNING)], "ready"),
        ([a_pod(SCHEDULED, READY, state=RUNNING), a_pod(SCHEDULED)], "image or volume"),
        ([a_pod(SCHEDULED, UNREADY, state=RUNNING), a_pod()], "unscheduled"),
    ],
)
def test_the_slowest_pod_says_where_a_rollout_is(pods: list[dict[str, Any]], phase: str) -> None:
    assert phase_of(pods) == phase


@pytest.mark.parametrize(
    ("pod", "phases"),
    [
        (a_pod(SCHEDULED, READY, state=RUNNING), {"scheduled": 2.0, "running": 8.0, "ready": 60.0}),
        (a_pod(SCHEDULED, UNREADY, state=RUNNING), {"scheduled": 2.0, "running": 8.0}),
        (a_pod(SCHEDULED), {"scheduled": 2.0}),
        (a_pod(), {}),
    ],
)
def test_a_start_is_told_in_its_phases(pod: dict[str, Any], phases: dict[str, float]) -> None:
    assert start_phases(pod) == phases


def test_a_restart_after_ready_makes_no_negative_time() -> None:
    late = {"running": {"startedAt": "2025-01-01T00:05:00Z"}}
    assert start_phases(a_pod(SCHEDULED, READY, state=late))["ready"] == 0.0


def test_only_living_pods_of_the_release_are_its_pods() -> None:
    mine = a_pod(annotations={RELEASE_ANNOTATION: "r1"})
    other = a_pod(annotations={RELEASE_ANNOTATION: "r0"})
    ending = a_pod(annotations={RELEASE_ANNOTATION: "r1"}, deletionTimestamp=CREATED)
    assert release_pods([mine, other, ending, a_pod()], "r1") == [mine]


def test_pods_are_looked_for_by_the_deployments_own_selector() -> None:
    labels = {"slipway.dev/model": "x", "app": "vllm"}
    assert selector_of({"spec": {"selector": {"matchLabels": labels}}}) == "app=vllm,slipway.dev/model=x"
