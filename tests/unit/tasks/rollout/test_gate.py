from __future__ import annotations

from typing import Any

import pytest

from tasks.rollout.explain import Scene
from tasks.rollout.gate import UP, phase_of, progress_of, release_pods, selector_of, unanswered
from tasks.rollout.manifests import RELEASE_ANNOTATION
from tests.support.pods import CREATED, READY, RUNNING, SCHEDULED, UNREADY, a_pod, condition


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


def test_of_a_pod_that_loads_its_log_says_what_it_does() -> None:
    slow, fast = (a_pod(SCHEDULED, UNREADY, state=RUNNING) for _ in range(2))
    scenes = [Scene(slow, log=("Starting to load model x",)), Scene(fast, log=("Model loading took 1 GiB",))]
    assert progress_of([slow, fast], scenes) == "loading weights"
    assert progress_of([slow, a_pod()], scenes) == "unscheduled"


def scene(*events: str, restarts: int = 0) -> Scene:
    pod = a_pod(SCHEDULED, UNREADY, state=RUNNING, namespace="llm")
    pod["status"]["containerStatuses"][0]["restartCount"] = restarts
    return Scene(pod, events=events)


def test_a_pod_that_serves_another_name_is_told_at_once() -> None:
    found = unanswered(scene(f"Warning Unhealthy: {UP}/v1/models lists other, not x"))
    assert found
    assert found.final
    assert found.cause == "vLLM serves another name than it was asked to"
    assert "/v1/models lists other, not x" in found.evidence


def test_a_pod_that_is_up_and_cannot_complete_may_yet_recover() -> None:
    found = unanswered(scene(f"Warning Unhealthy: {UP}/v1/completions answers 500: oh"))
    assert found
    assert not found.final
    assert "/v1/completions answers 500: oh" in found.evidence


@pytest.mark.parametrize(
    "events",
    [
        (),
        ("Warning Unhealthy: Startup probe failed: not up yet: [Errno 111] Connection refused",),
        ("Normal Pulled: Successfully pulled image",),
    ],
)
def test_a_pod_that_is_not_up_yet_is_not_at_fault(events: tuple[str, ...]) -> None:
    assert unanswered(scene(*events)) is None


def test_what_a_life_that_is_over_answered_is_not_held_against_the_next() -> None:
    assert unanswered(scene(f"Warning Unhealthy: {UP}/v1/completions answers 500: oh", restarts=1)) is None


SEEN = (
    "Normal Scheduled: assigned",
    "Normal SuccessfulAttachVolume: x",
    "Normal Pulling: y",
    "Normal Pulled: y",
)


@pytest.mark.parametrize(
    ("events", "phase"),
    [
        ((), "waiting for its volume"),
        (SEEN[:2], "waiting for its volume"),
        (SEEN[:3], "pulling its image"),
        (SEEN, "creating its container"),
    ],
)
def test_what_a_scheduled_pod_waits_for_is_told_by_its_events(events: tuple[str, ...], phase: str) -> None:
    waiting = a_pod(SCHEDULED, state={"waiting": {"reason": "ContainerCreating"}})
    assert progress_of([waiting], [Scene(waiting, events=events)]) == phase


def test_of_several_pods_the_slowest_is_told() -> None:
    pods = [a_pod(SCHEDULED), a_pod(SCHEDULED)]
    scenes = [Scene(pods[0], events=SEEN), Scene(pods[1], events=SEEN[:3])]
    assert progress_of(pods, scenes) == "pulling its image"


def test_only_living_pods_of_the_release_are_its_pods() -> None:
    mine = a_pod(annotations={RELEASE_ANNOTATION: "r1"})
    other = a_pod(annotations={RELEASE_ANNOTATION: "r0"})
    ending = a_pod(annotations={RELEASE_ANNOTATION: "r1"}, deletionTimestamp=CREATED)
    evicted = a_pod(annotations={RELEASE_ANNOTATION: "r1"})
    evicted["status"]["phase"] = "Failed"
    assert release_pods([mine, other, ending, evicted, a_pod()], "r1") == [mine]


def test_pods_are_looked_for_by_the_deployments_own_selector() -> None:
    labels = {"slipway.dev/model": "x", "app": "vllm"}
    assert selector_of({"spec": {"selector": {"matchLabels": labels}}}) == "app=vllm,slipway.dev/model=x"
