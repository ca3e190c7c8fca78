"""The cells of `kubectl get`: readiness, state and age."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from slipway_sandbox.kubernetes import tables
from slipway_sandbox.kubernetes.durations import age_of
from slipway_sandbox.kubernetes.resources import Registry

_NOW = dt.datetime(2026, 1, 1, 12, tzinfo=dt.UTC)


def _row(plural: str, object_: dict[str, Any], group: str = "") -> list[Any]:
    resource = Registry().of_key((group, plural))
    columns, cells = tables.layout(resource, lambda then: age_of(then, _NOW))
    row = cells({"metadata": {"name": "one"}, "spec": {}} | object_)
    assert len(columns) == len(row)
    return row


def _pod(**status: Any) -> dict[str, Any]:
    return {"spec": {"containers": [{"name": "main"}]}, "status": status}


@pytest.mark.parametrize(
    ("pod", "ready", "word"),
    [
        (_pod(phase="Pending"), "0/1", "Pending"),
        (_pod(phase="Running", containerStatuses=[{"ready": True, "state": {"running": {}}}]), "1/1", "Running"),
        (_pod(containerStatuses=[{"state": {"waiting": {"reason": "ImagePullBackOff"}}}]), "0/1", "ImagePullBackOff"),
        (_pod(containerStatuses=[{"state": {"terminated": {"exitCode": 3}}}]), "0/1", "ExitCode:3"),
        (_pod(phase="Failed", reason="Evicted"), "0/1", "Evicted"),
        (_pod() | {"metadata": {"name": "one", "deletionTimestamp": "x"}}, "0/1", "Terminating"),
    ],
)  # fmt: skip
def test_a_pod_shows_its_readiness_and_one_word(pod: dict[str, Any], ready: str, word: str) -> None:
    assert _row("pods", pod)[:3] == ["one", ready, word]


def test_an_init_container_that_runs_is_counted() -> None:
    pod = _pod(initContainerStatuses=[{"state": {"terminated": {"exitCode": 0}}}, {"state": {"running": {}}}])
    pod["spec"]["initContainers"] = [{"name": "a"}, {"name": "b"}]
    assert _row("pods", pod)[2] == "Init:1/2"


def test_workloads_show_ready_of_wanted() -> None:
    deployment = {"spec": {"replicas": 3}, "status": {"readyReplicas": 2}}
    assert _row("deployments", deployment, "apps")[1] == "2/3"
    daemon_set = {"status": {"numberReady": 1, "desiredNumberScheduled": 2}}
    assert _row("daemonsets", daemon_set, "apps")[1] == "1/2"


def test_a_node_says_whether_it_is_ready_and_cordoned() -> None:
    status = {"conditions": [{"type": "Ready", "status": "True"}]}
    node = {"spec": {"unschedulable": True}, "status": status}
    assert _row("nodes", node)[1] == "Ready,SchedulingDisabled"


def test_a_job_that_failed_says_so() -> None:
    job = {"status": {"conditions": [{"type": "Failed", "status": "True"}]}}
    assert _row("jobs", job, "batch")[1:3] == ["Failed", "0/1"]


def test_an_event_shows_what_it_is_about() -> None:
    event = {
        "involvedObject": {"kind": "Pod", "name": "p"},
        "type": "Warning",
        "reason": "Failed",
        "message": "no GPU\n",
        "lastTimestamp": "2026-01-01T11:59:30Z",
    }
    assert _row("events", event) == ["30s", "Warning", "Failed", "pod/p", "no GPU"]


@pytest.mark.parametrize(
    ("seconds", "age"),
    [(5, "5s"), (119, "119s"), (120, "2m"), (7199, "119m"), (7200, "2h"), (172800, "2d")],
)
def test_ages_are_written_in_the_largest_unit(seconds: int, age: str) -> None:
    assert age_of((_NOW - dt.timedelta(seconds=seconds)).isoformat(), _NOW) == age
