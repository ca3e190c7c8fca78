"""A wake by replicas is one state to reach; a wake by the flow is one run, whoever asks how often."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from tasks.holding.waking import (
    AGAIN_SECONDS,
    ENDED,
    FLOW_SECONDS,
    STATE_SECONDS,
    ClusterWaker,
    Wake,
    flow_runs,
    ready_addresses,
)
from tasks.records.errors import PrefectUnavailable
from tasks.records.names import EXPECTED_ANNOTATION, WAKE_ANNOTATION
from tests.support.canned import CannedCluster

PAUSED = "autoscaling.keda.sh/paused-replicas"


def asleep() -> Any:
    return CannedCluster(
        {
            "kind": "ScaledObject",
            "metadata": {"name": "vllm-tiny", "annotations": {PAUSED: "0", EXPECTED_ANNOTATION: "42.5"}},
        },
        {
            "kind": "Deployment",
            "metadata": {"name": "vllm-tiny", "generation": 3},
            "spec": {"replicas": 0},
        },
    )


def test_a_wake_ends_the_pause_sets_replicas_and_says_when() -> None:
    cluster = asleep()
    waker = ClusterWaker(cluster, "llm", lambda: 1_000_000_000.0)
    assert waker.look("tiny").replicas == 0
    assert waker.wake("tiny", 2) == Wake(at=1_000_000_000.0, expected=42.5)
    assert waker.look("tiny").replicas == 2
    [scaled] = [d for d in cluster.documents if d["kind"] == "ScaledObject"]
    notes = scaled["metadata"]["annotations"]
    assert notes[PAUSED] is None  # a merge patch removes it
    assert json.loads(notes[WAKE_ANNOTATION])["by"] == "request"


def test_the_first_token_is_noted_once_and_only_after_a_wake() -> None:
    cluster, clock = asleep(), [10.0]
    waker = ClusterWaker(cluster, "llm", lambda: clock[0])
    waker.first_token("tiny")
    assert waker.last_wake("tiny").at is None
    waker.wake("tiny", 1)
    for clock[0] in (20.0, 30.0):
        waker.first_token("tiny")
    [scaled] = [d for d in cluster.documents if d["kind"] == "ScaledObject"]
    told = json.loads(scaled["metadata"]["annotations"][WAKE_ANNOTATION])
    assert told["first_token"].startswith("1970-01-01T00:00:20")
    assert told["at"].startswith("1970-01-01T00:00:10")


def test_a_run_of_the_flow_is_one_however_often_it_is_asked_for_and_another_when_it_came_to_nothing() -> None:
    cluster, clock = asleep(), [0.0]
    keys: list[str] = []

    def start(model: str, key: str) -> str:
        if key not in keys:
            keys.append(key)
        return "RUNNING"

    waker = ClusterWaker(cluster, "llm", lambda: clock[0], start)
    for clock[0] in (0.0, 1.0, AGAIN_SECONDS, FLOW_SECONDS - 1):
        waker.wake("tiny", 1)
    assert keys == ["3 1"]
    assert waker.look("tiny").replicas == 0  # the run's part
    clock[0] = FLOW_SECONDS + STATE_SECONDS
    waker.wake("tiny", 1)
    assert keys == ["3 1", "3 2"]
    # another process asks for the same sleep with the same key: Prefect makes no second run of it
    ClusterWaker(cluster, "llm", lambda: 0.0, start).wake("tiny", 1)
    assert keys == ["3 1", "3 2"]


@pytest.mark.parametrize("state", sorted(ENDED))
def test_a_run_that_has_failed_is_followed_by_another_after_a_while(state: str) -> None:
    clock, asked = [0.0], list[str]()

    def start(model: str, key: str) -> str:
        asked.append(key)
        return state

    waker = ClusterWaker(asleep(), "llm", lambda: clock[0], start)
    for clock[0] in (0.0, AGAIN_SECONDS - 1):
        waker.wake("tiny", 1)
    assert asked == ["3 1"]
    clock[0] = AGAIN_SECONDS + STATE_SECONDS
    waker.wake("tiny", 1)
    assert asked == ["3 1", "3 1", "3 2"]


def test_a_run_that_could_not_be_asked_for_is_asked_for_again() -> None:
    asked: list[str] = []

    def start(model: str, key: str) -> str:
        asked.append(key)
        if len(asked) == 1:
            raise ConnectionError
        return "SCHEDULED"

    waker = ClusterWaker(asleep(), "llm", lambda: 0.0, start)
    with pytest.raises(ConnectionError):
        waker.wake("tiny", 1)
    waker.wake("tiny", 1)
    assert asked == ["3 1", "3 1"]


@pytest.mark.parametrize(
    ("conditions", "found"),
    [({"ready": True}, ["10.0.0.1:8000"]), ({"ready": False}, []), ({}, ["10.0.0.1:8000"])],
)
def test_the_ready_endpoints(conditions: dict[str, bool], found: list[str]) -> None:
    endpoints = [{"addresses": ["10.0.0.1"], "conditions": conditions}]
    assert ready_addresses({"ports": [{"port": 8000}], "endpoints": endpoints}) == found
    assert ready_addresses({"endpoints": None, "ports": None}) == []


class Prefect:
    """The two routes of Prefect's API that a wake uses, as prefect 3.8.8 answers them."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any] | None, str | None]] = []
        self.status = 201

    def answer(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content) if request.content else None
        self.asked.append((request.url.path, body, request.headers.get("authorization")))
        if request.method == "GET":
            return httpx.Response(200, json={"id": "d1"})
        return httpx.Response(self.status, json={"id": "r1", "state_type": "SCHEDULED"})


@pytest.fixture
def prefect(monkeypatch: pytest.MonkeyPatch) -> Prefect:
    fake, client = Prefect(), httpx.Client
    monkeypatch.setattr(
        "tasks.cloud.flow_runs.httpx.Client",
        lambda **given: client(transport=httpx.MockTransport(fake.answer), **given),
    )
    return fake


def test_a_run_is_asked_for_by_the_deployments_name(prefect: Prefect) -> None:
    assert flow_runs("http://prefect:4200/api/", "staging", "Bearer pnu_x")("tiny", "3 1") == "SCHEDULED"
    assert prefect.asked == [
        ("/api/deployments/name/slipway-wake/staging", None, "Bearer pnu_x"),
        (
            "/api/deployments/d1/create_flow_run",
            {
                "parameters": {"model": "tiny", "environment": "staging"},
                "idempotency_key": "slipway-wake staging tiny 3 1",
            },
            "Bearer pnu_x",
        ),
    ]


def test_a_server_that_refuses_is_an_error_of_the_tree(prefect: Prefect) -> None:
    prefect.status = 409
    with pytest.raises(PrefectUnavailable) as caught:
        flow_runs("http://prefect:4200/api", "staging", None)("tiny", "3 1")
    assert caught.value.next_command == "slipway wake tiny -e staging"
