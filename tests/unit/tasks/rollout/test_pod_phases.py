from __future__ import annotations

from typing import Any

import pytest

from tasks.records.names import RELEASE_ANNOTATION
from tasks.rollout.explain import PodEvidence
from tasks.rollout.pod_phases import phase_of, progress_of, release_pods, selector_of
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
    evidence = [
        PodEvidence(slow, log=("Starting to load model x",)),
        PodEvidence(fast, log=("Model loading took 1 GiB",)),
    ]
    assert progress_of([slow, fast], evidence) == "loading weights"
    assert progress_of([slow, a_pod()], evidence) == "unscheduled"


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
    assert progress_of([waiting], [PodEvidence(waiting, events=events)]) == phase


def test_of_several_pods_the_slowest_is_told() -> None:
    pods = [a_pod(SCHEDULED), a_pod(SCHEDULED)]
    evidence = [PodEvidence(pods[0], events=SEEN), PodEvidence(pods[1], events=SEEN[:3])]
    assert progress_of(pods, evidence) == "pulling its image"


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


def test_without_a_deployment_all_serving_pods_are_looked_for() -> None:
    assert selector_of(None) == "app=vllm"
