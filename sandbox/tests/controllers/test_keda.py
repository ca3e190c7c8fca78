"""KEDA's operator: its decisions as tables, and the whole of it against an API server and a Prometheus."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from slipway_sandbox.controllers.objects import DEFINITIONS, DEPLOYMENTS, Object, condition_of, status_of
from slipway_sandbox.images.keda import SCALED_OBJECTS, TriggerError, read_answer, run_operator
from slipway_sandbox.images.keda_scaling import (
    PAUSED,
    PAUSED_REPLICAS,
    Reading,
    ScalerState,
    decide_hpa,
    decide_scaling,
)
from tests.controllers.conftest import TOKEN, Cluster, deployment

NOW = datetime(2030, 1, 1, 12, 0, 0, tzinfo=UTC)
HOST = "prometheus.monitoring.svc.cluster.local"


def stamp(ago: float) -> str:
    return (NOW - timedelta(seconds=ago)).strftime("%Y-%m-%dT%H:%M:%SZ")


def scaled_object(status: Object | None = None, annotations: Object | None = None, **spec: Any) -> Object:
    base = {"scaleTargetRef": {"name": "vllm"}, "triggers": [], "cooldownPeriod": 60}
    metadata = {
        "name": "so",
        "namespace": "default",
        "creationTimestamp": stamp(3600),
        "annotations": annotations or {},
    }
    return {"metadata": metadata, "spec": base | spec, "status": status or {}}


def reading(value: float, *, active: bool = True, **more: Any) -> Reading:
    return Reading("s0-prometheus", value=value, threshold=10.0, active=active, **more)


FAILED = Reading("s0-prometheus", error="no such host")
QUIET = reading(0, active=False)


@pytest.mark.parametrize(
    ("spec", "status", "current", "readings", "replicas", "reason"),
    [
        ({}, {}, 0, [reading(1)], 1, "ScalerActive"),
        ({"minReplicaCount": 2}, {}, 0, [reading(1)], 2, "ScalerActive"),
        ({}, {}, 0, [QUIET], None, "ScalerNotActive"),
        ({}, {"lastActiveTime": stamp(61)}, 1, [QUIET], 0, "ScalerNotActive"),
        ({}, {"lastActiveTime": stamp(59)}, 1, [QUIET], 1, "ScalerCooldown"),
        ({"minReplicaCount": 1}, {"lastActiveTime": stamp(900)}, 1, [QUIET], 1, "ScalerNotActive"),
        (
            {"minReplicaCount": 2, "idleReplicaCount": 0},
            {"lastActiveTime": stamp(61)},
            2,
            [QUIET],
            0,
            "ScalerNotActive",
        ),
        ({"minReplicaCount": 2, "idleReplicaCount": 0}, {}, 0, [reading(1)], 2, "ScalerActive"),
        (
            {},
            {"lastActiveTime": stamp(900)},
            1,
            [FAILED],
            1,
            "ScalerNotActive",
        ),  # no answer is no reason to stop
        ({}, {}, 0, [FAILED], None, "ScalerNotActive"),
    ],
)
def test_the_step_between_zero_and_one(
    spec: Object, status: Object, current: int, readings: list[Reading], replicas: int | None, reason: str
) -> None:
    item = scaled_object(status, **spec)
    verdict = decide_scaling(item, {"spec": {"replicas": current}}, readings, ScalerState(), NOW)
    assert verdict.replicas == replicas
    active = condition_of({"status": verdict.status}, "Active")
    assert active is not None
    assert active["reason"] == reason


def test_a_trigger_that_fails_makes_the_object_not_ready() -> None:
    verdict = decide_scaling(scaled_object(), {"spec": {"replicas": 1}}, [FAILED], ScalerState(), NOW)
    ready = condition_of({"status": verdict.status}, "Ready")
    assert ready is not None
    assert (ready["status"], ready["reason"]) == ("False", "TriggerError")


@pytest.mark.parametrize(("annotations", "replicas"), [({PAUSED: "true"}, None), ({PAUSED_REPLICAS: "0"}, 0)])
def test_a_paused_object_is_held(annotations: Object, replicas: int | None) -> None:
    item = scaled_object(annotations=annotations)
    verdict = decide_scaling(item, {"spec": {"replicas": 3}}, [reading(99)], ScalerState(), NOW)
    assert verdict.replicas == replicas
    assert condition_of({"status": verdict.status}, "Paused")["status"] == "True"  # type: ignore[index]


def test_a_fallback_takes_over_after_its_threshold() -> None:
    health = {"s0-prometheus": {"numberOfFailures": 3, "status": "Failing"}}
    item = scaled_object({"health": health}, fallback={"failureThreshold": 3, "replicas": 4})
    verdict = decide_scaling(item, {"spec": {"replicas": 1}}, [FAILED], ScalerState(), NOW)
    assert verdict.replicas == 4
    assert condition_of({"status": verdict.status}, "Fallback")["status"] == "True"  # type: ignore[index]


FREE = {
    "advanced": {
        "horizontalPodAutoscalerConfig": {"behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}}}
    }
}


@pytest.mark.parametrize(
    ("spec", "current", "value", "expected"),
    [
        ({}, 1, 25, 3),
        ({}, 2, 21, 2),  # within a tenth
        ({"maxReplicaCount": 2}, 1, 99, 2),
        ({}, 1, 900, 5),  # four more in a period
        ({}, 8, 900, 16),  # or twice as many
        ({}, 3, 0, 3),  # the window holds it
        (FREE, 3, 0, 1),
        (FREE | {"minReplicaCount": 2}, 3, 0, 2),
    ],
)
def test_the_hpa_part(spec: Object, current: int, value: float, expected: int) -> None:
    assert decide_hpa(spec, current, [reading(value)], ScalerState(), NOW) == expected


def test_scaling_down_waits_for_the_window_to_pass() -> None:
    state = ScalerState()
    assert decide_hpa({}, 3, [reading(30)], state, NOW) == 3
    assert decide_hpa({}, 3, [reading(5)], state, NOW + timedelta(seconds=200)) == 3
    assert decide_hpa({}, 3, [reading(5)], state, NOW + timedelta(seconds=301)) == 1


@pytest.mark.parametrize(
    ("result", "ignore_null", "value"),
    [([], True, 0.0), ([{"value": [1, "3.5"]}], True, 3.5), ([{"value": [1, "NaN"]}], True, 0.0)],
)
def test_an_answer_of_prometheus_is_one_number(result: list[Object], ignore_null: bool, value: float) -> None:
    body = {"data": {"resultType": "vector", "result": result}}
    assert read_answer(body, "q", ignore_null=ignore_null) == value


@pytest.mark.parametrize(
    ("result", "said"),
    [([], "the result is empty"), ([{"value": [1, "1"]}] * 2, "returned multiple elements")],
)
def test_an_answer_that_is_no_number_is_an_error(result: list[Object], said: str) -> None:
    with pytest.raises(TriggerError, match=said):
        read_answer({"data": {"resultType": "vector", "result": result}}, "q", ignore_null=False)


@dataclass
class Prometheus:
    """Answers every instant query with `value`, or with `status`."""

    port: int = 0
    value: float = 0.0
    status: int = 200
    queries: list[str] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.Response:
        self.queries.append(request.query["query"])
        data = {"resultType": "vector", "result": [{"metric": {}, "value": [1.0, str(self.value)]}]}
        return web.json_response({"status": "success", "data": data}, status=self.status)


@pytest.fixture
async def prometheus() -> AsyncIterator[Prometheus]:
    source = Prometheus()
    application = web.Application()
    application.router.add_get("/api/v1/query", source.answer)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    source.port = runner.addresses[0][1]
    yield source
    await runner.cleanup()


async def define(cluster: Cluster) -> None:
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {
        "name": "v1alpha1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema},
        "subresources": {"status": {}},
    }
    names = {
        "plural": "scaledobjects",
        "singular": "scaledobject",
        "kind": "ScaledObject",
        "listKind": "ScaledObjectList",
    }
    spec = {"group": "keda.sh", "scope": "Namespaced", "names": names, "versions": [version]}
    await cluster.create(DEFINITIONS, {"metadata": {"name": "scaledobjects.keda.sh"}, "spec": spec})
    await cluster.until(lambda: cluster.client.get("/apis/keda.sh/v1alpha1"), "the kind is served")


@pytest.fixture
async def operator(cluster: Cluster, tmp_path: Path) -> AsyncIterator[asyncio.Task[None]]:
    hosts = tmp_path / "hosts"
    hosts.write_text(f"127.0.0.1 {HOST}\n")
    task = asyncio.create_task(run_operator(cluster.client, hosts))
    yield task
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_deployment_wakes_grows_and_sleeps_by_its_queue(
    cluster: Cluster, prometheus: Prometheus, operator: asyncio.Task[None]
) -> None:
    await cluster.node("a")
    await define(cluster)
    await cluster.create(DEPLOYMENTS, deployment("vllm", 0))
    metadata = {
        "serverAddress": f"http://{HOST}:{prometheus.port}",
        "query": "sum(vllm:num_requests_waiting)",
        "threshold": "4",
    }
    spec = {
        "scaleTargetRef": {"name": "vllm"},
        "pollingInterval": 1,
        "cooldownPeriod": 0,
        "maxReplicaCount": 3,
        "triggers": [{"type": "prometheus", "metadata": metadata}],
        **FREE,
    }
    await cluster.create(SCALED_OBJECTS, {"metadata": {"name": "so", "namespace": "default"}, "spec": spec})
    asleep = await cluster.until_that(
        SCALED_OBJECTS, "so", lambda s: (condition_of(s, "Active") or {}).get("reason") == "ScalerNotActive"
    )
    assert status_of(asleep)["externalMetricNames"] == ["s0-prometheus"]
    assert "finalizer.keda.sh" in asleep["metadata"]["finalizers"]
    prometheus.value = 7
    await cluster.until_that(DEPLOYMENTS, "vllm", lambda d: d["spec"]["replicas"] == 2)
    await cluster.until_that(
        SCALED_OBJECTS, "so", lambda s: (condition_of(s, "Active") or {}).get("status") == "True"
    )
    prometheus.value = 0
    await cluster.until_that(DEPLOYMENTS, "vllm", lambda d: d["spec"]["replicas"] == 0)
    assert set(prometheus.queries) == {"sum(vllm:num_requests_waiting)"}
    assert not operator.done()
    await cluster.delete(SCALED_OBJECTS, "so")
    await cluster.until_gone(SCALED_OBJECTS, "so")


async def test_a_prometheus_that_is_down_stops_nothing_and_is_said(
    cluster: Cluster, prometheus: Prometheus, operator: asyncio.Task[None]
) -> None:
    prometheus.status = 503
    await cluster.node("a")
    await define(cluster)
    await cluster.create(DEPLOYMENTS, deployment("vllm", 1))
    metadata = {"serverAddress": f"http://{HOST}:{prometheus.port}", "query": "q", "threshold": "4"}
    triggers = [{"type": "prometheus", "metadata": metadata}]
    spec = {
        "scaleTargetRef": {"name": "vllm"},
        "pollingInterval": 1,
        "cooldownPeriod": 0,
        "triggers": triggers,
    }
    await cluster.create(SCALED_OBJECTS, {"metadata": {"name": "so", "namespace": "default"}, "spec": spec})
    await cluster.until_that(
        SCALED_OBJECTS, "so", lambda s: (condition_of(s, "Ready") or {}).get("reason") == "TriggerError"
    )
    (event, *_) = await cluster.until(lambda: cluster.events("KEDAScalerFailed"), "the event")
    assert "prometheus query api returned error. status: 503" in event["message"]
    assert (await cluster.get(DEPLOYMENTS, "vllm") or {})["spec"]["replicas"] == 1
    assert not operator.done()


async def test_the_program_answers_its_probes_and_ends_on_sigterm(cluster: Cluster, tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    hosts, kubeconfig = tmp_path / "hosts", tmp_path / "kubeconfig"
    hosts.touch()
    config = {
        "current-context": "pod",
        "contexts": [{"name": "pod", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": cluster.client.server}}],
        "users": [{"name": "u", "user": {"token": TOKEN}}],
    }
    kubeconfig.write_text(json.dumps(config))
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "slipway_sandbox.images.keda",
        "--leader-elect",
        f"--health-probe-bind-address=:{port}",
        env={
            **os.environ,
            "KUBECONFIG": str(kubeconfig),
            "SLIPWAY_SANDBOX_HOSTS": str(hosts),
            "SLIPWAY_SANDBOX_POD_IP": "127.0.0.1",
        },
        stderr=asyncio.subprocess.PIPE,
    )

    async def healthy() -> bool:
        try:
            async with aiohttp.request("GET", f"http://127.0.0.1:{port}/readyz") as response:
                return response.status == 200
        except aiohttp.ClientConnectionError:
            return False

    try:
        await cluster.until(healthy, "the program is ready")
        process.terminate()
        _, printed = await asyncio.wait_for(process.communicate(), 5)
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == 0
    assert b"Starting manager" in printed
    assert b"Traceback" not in printed
