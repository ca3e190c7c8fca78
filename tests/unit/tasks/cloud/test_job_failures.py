"""Why a Job of ours did not do its work, from its pod, as a table."""

from __future__ import annotations

from typing import Any

import pytest

from tasks.cloud.job_failures import Failures, Limits, Phase, phase_of
from tasks.records.errors import ValidationFailed
from tests.support.builders import an_environment

FAILURES = Failures(an_environment(), "load-llama", Limits(starting=60.0, running=30.0), ValidationFailed)
PULL, UNMADE = "ImagePullBackOff", "CreateContainerConfigError"


def a_pod(phase: str = "Pending", node: str | None = "node-1", **state: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "load-llama-x"},
        "spec": {"nodeName": node} if node else {},
        "status": {"phase": phase, "containerStatuses": [{"state": state}] if state else []},
    }


def waiting(reason: str) -> dict[str, Any]:
    return a_pod(waiting={"reason": reason, "message": "as the kubelet said it"})


@pytest.mark.parametrize(
    ("pod", "phase"),
    [
        (None, "creating"),
        (a_pod(node=None), "scheduling"),
        (a_pod(), "starting"),
        (a_pod("Running"), "running"),
        (a_pod("Succeeded"), "succeeded"),
        (a_pod("Failed"), "failed"),
    ],
)
def test_a_phase_is_read_from_the_pod(pod: dict[str, Any] | None, phase: Phase) -> None:
    assert phase_of(pod) == phase


@pytest.mark.parametrize(
    ("pod", "waited", "cause", "command"),
    [
        (a_pod(node=None), 59.0, None, ""),
        (a_pod(node=None), 61.0, "no node takes the pod of job load-llama within 1 min", "describe pods"),
        (waiting("ContainerCreating"), 59.0, None, ""),
        (waiting("ContainerCreating"), 61.0, "did not start within 1 min", "describe pods"),
        (waiting(PULL), 5.0, None, ""),
        (waiting(PULL), 21.0, "cannot be pulled (ImagePullBackOff)", "validation.image"),
        (waiting(UNMADE), 21.0, "cannot be made (CreateContainerConfigError)", "get secret slipway-own-key"),
        (a_pod("Running"), 29.0, None, ""),
        (a_pod("Running"), 31.0, "job load-llama did not end within 30", "--measure-from here"),
    ],
)
def test_a_pod_that_waits_too_long_is_explained(
    pod: dict[str, Any], waited: float, cause: str | None, command: str
) -> None:
    found = FAILURES.overdue(pod, phase_of(pod), waited=waited)
    if cause is None:
        assert found is None
    else:
        assert found is not None
        assert cause in found.cause
        assert command in str(found.next_command)


FAILED = {"status": {"conditions": [{"type": "Failed", "status": "True", "message": "past its deadline"}]}}


@pytest.mark.parametrize(
    ("job", "had_pod", "waited", "cause"),
    [
        ({}, False, 1.0, None),
        ({}, False, 61.0, "made no pod within 1 min"),
        ({}, True, 1.0, "its node was drained or lost"),
        (None, True, 1.0, "was deleted by somebody else"),
        (FAILED, True, 1.0, "ended by Kubernetes: past its deadline"),
    ],
)
def test_a_job_without_a_pod_is_explained(
    job: dict[str, Any] | None, had_pod: bool, waited: float, cause: str | None
) -> None:
    found = FAILURES.no_pod(job, had_pod=had_pod, waited=waited)
    assert found is None if cause is None else cause in str(found)


def test_a_program_that_ended_badly_is_told_by_its_last_line() -> None:
    pod = a_pod("Failed", terminated={"exitCode": 1, "reason": "Error"})
    error = FAILURES.ended(pod, ["one", "no answer from http://10.0.0.1/x/v1: no connection in time"])
    assert "exit code 1: no answer from http://10.0.0.1/x/v1" in error.cause
    assert error.evidence[0] == "one"
    assert isinstance(error, ValidationFailed)


def test_one_that_was_killed_for_memory_is_told_as_that() -> None:
    pod = a_pod("Failed", terminated={"exitCode": 137, "reason": "OOMKilled"})
    assert "killed for memory" in FAILURES.ended(pod, []).cause


def test_a_pod_that_was_evicted_before_it_ran_is_told_by_the_pods_reason() -> None:
    pod = a_pod("Failed")
    pod["status"]["reason"] = "Evicted"
    assert FAILURES.ended(pod, []).cause == "job load-llama failed: Evicted"
