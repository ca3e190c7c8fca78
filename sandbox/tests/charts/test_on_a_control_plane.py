"""The charts installed by Helm on the sandbox's API server, and the metrics pod's program run against it."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import sys
from asyncio import to_thread
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from slipway_sandbox.apiclient import ApiClient, ApiError
from slipway_sandbox.settings import Settings
from tests.charts.conftest import NAMESPACES, Object, install

MONITORING = "monitoring.coreos.com/v1"
PROMETHEUS = "kube-prometheus-stack-prometheus"
SCALED_OBJECT: Object = {
    "apiVersion": "keda.sh/v1alpha1",
    "kind": "ScaledObject",
    "metadata": {"name": "vllm", "namespace": "keda"},
    "spec": {
        "scaleTargetRef": {"name": "vllm"},
        "minReplicaCount": 1,
        "advanced": {"horizontalPodAutoscalerConfig": {"behavior": {"scaleDown": {"selectPolicy": "Min"}}}},
        "triggers": [{"type": "prometheus", "metadata": {"query": "up", "threshold": "5"}}],
    },
}


async def test_all_charts_install(kubeconfig: Path, client: ApiClient) -> None:
    for chart in ("kube-prometheus-stack", "keda", "nvidia-device-plugin", "dcgm-exporter"):
        await to_thread(install, kubeconfig, chart)
        secrets_path = ApiClient.path("v1", "secrets", NAMESPACES[chart])
        releases = await client.list(secrets_path, labelSelector=f"owner=helm,name={chart}")
        assert [release["metadata"]["labels"]["status"] for release in releases] == ["deployed"]
    assert await client.get(ApiClient.path("v1", "services", "monitoring", PROMETHEUS))
    assert await client.get(ApiClient.path(MONITORING, "servicemonitors", "monitoring", "dcgm-exporter"))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"triggers": []}, "scaleTargetRef"),
        ({"scaleTargetRef": {"name": "x"}, "triggers": [{"type": "prometheus"}]}, "metadata"),
        ({**SCALED_OBJECT["spec"], "maxReplicaCount": "many"}, "maxReplicaCount"),
    ],
)
async def test_a_wrong_scaled_object_is_refused(
    kubeconfig: Path, client: ApiClient, spec: Object, message: str
) -> None:
    await to_thread(install, kubeconfig, "keda")
    path = ApiClient.path("keda.sh/v1alpha1", "scaledobjects", "keda")
    with pytest.raises(ApiError) as refused:
        await client.create(path, {**SCALED_OBJECT, "spec": spec})
    assert refused.value.code == 422
    assert message in refused.value.message


async def test_a_scaled_object_keeps_what_its_definition_knows(kubeconfig: Path, client: ApiClient) -> None:
    await to_thread(install, kubeconfig, "keda")
    path = ApiClient.path("keda.sh/v1alpha1", "scaledobjects", "keda")
    made = await client.create(path, {**SCALED_OBJECT, "spec": SCALED_OBJECT["spec"] | {"typo": 1}})
    assert made["spec"] == SCALED_OBJECT["spec"]
    status = {"conditions": [{"type": "Ready", "status": "True"}]}
    await client.patch(f"{path}/vllm/status", {"status": status})
    stored = await client.get(f"{path}/vllm")
    assert stored and stored["status"] == status


async def _metrics_page() -> tuple[web.AppRunner, int]:
    async def page(_request: web.Request) -> web.Response:
        return web.Response(text='vllm:num_requests_waiting{model_name="tiny"} 3\n')

    app = web.Application()
    app.router.add_get("/metrics", page)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return runner, runner.addresses[0][1]


async def _put_pod_and_monitor(client: ApiClient, port: int) -> None:
    await client.create("/api/v1/namespaces", {"metadata": {"name": "llm"}})
    await client.create(ApiClient.path("v1", "serviceaccounts", "llm"), {"metadata": {"name": "default"}})
    pods = ApiClient.path("v1", "pods", "llm")
    container = {"name": "vllm", "image": "x", "ports": [{"name": "http", "containerPort": port}]}
    labels = {"app": "vllm"}
    pod = {"metadata": {"name": "vllm-0", "labels": labels}, "spec": {"containers": [container]}}
    await client.create(pods, pod)
    running = {"status": {"phase": "Running", "podIP": "127.0.0.1"}}
    await client.patch(f"{pods}/vllm-0/status", running)
    await client.create(
        ApiClient.path(MONITORING, "podmonitors", "llm"),
        {
            "apiVersion": MONITORING,
            "kind": "PodMonitor",
            "metadata": {"name": "vllm"},
            "spec": {
                "selector": {"matchLabels": labels},
                "podMetricsEndpoints": [{"port": "http", "interval": "100ms"}],
            },
        },
    )


async def _query(url: str, query: str, count: int) -> list[Any]:
    """The result once it has `count` series."""
    async with aiohttp.ClientSession() as session, asyncio.timeout(15):
        while True:
            try:
                async with session.get(f"{url}/api/v1/query", params={"query": query}) as answer:
                    result: list[Any] = (await answer.json())["data"]["result"]
                    if len(result) == count:
                        return result
            except aiohttp.ClientConnectionError:
                pass  # not listening yet: the deadline above bounds this
            await asyncio.sleep(0.05)


async def test_the_stacks_prometheus_scrapes_a_pod_until_it_goes(
    kubeconfig: Path, client: ApiClient, tmp_path: Path
) -> None:
    switches = {"podMonitorSelectorNilUsesHelmValues": False}
    values = {"prometheus": {"prometheusSpec": switches}}
    await to_thread(install, kubeconfig, "kube-prometheus-stack", values)
    runner, port = await _metrics_page()
    await _put_pod_and_monitor(client, port)
    made = await client.get(
        ApiClient.path("apps/v1", "statefulsets", "monitoring", f"prometheus-{PROMETHEUS}")
    )
    assert made is not None
    (container,) = made["spec"]["template"]["spec"]["containers"]
    address = f"127.211.{secrets.randbelow(200) + 1}.{secrets.randbelow(200) + 1}"
    Settings(tmp_path, "127.77", 0, 0, 0, 0, 0, 0, scrape_seconds=0.1).save()
    environment = os.environ | {
        "KUBECONFIG": str(kubeconfig),
        "SLIPWAY_SANDBOX_ROOT": str(tmp_path),
        "SLIPWAY_SANDBOX_POD_IP": address,
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "slipway_sandbox.images.prometheus", *container["args"], env=environment
    )
    url = f"http://{address}:9090"
    try:
        (waiting,) = await _query(url, "vllm:num_requests_waiting", 1)
        assert waiting["value"][1] == "3"
        assert waiting["metric"]["pod"] == "vllm-0" and waiting["metric"]["job"] == "llm/vllm"
        await _query(url, "up", 1)
        await client.delete(ApiClient.path("v1", "pods", "llm", "vllm-0"), gracePeriodSeconds=0)
        await _query(url, "up", 0)
    finally:
        process.send_signal(signal.SIGTERM)
        await runner.cleanup()
    assert await asyncio.wait_for(process.wait(), 10) == 0


async def test_kedas_metrics_api_is_available_once_its_operator_runs(
    kubeconfig: Path, client: ApiClient, tmp_path: Path
) -> None:
    await to_thread(install, kubeconfig, "keda")
    path = ApiClient.path("apiregistration.k8s.io/v1", "apiservices", None, "v1beta1.external.metrics.k8s.io")
    made = await client.get(path)
    assert made is not None and not (made.get("status") or {}).get("conditions")
    hosts = tmp_path / "hosts"
    hosts.write_text("")
    address = f"127.212.{secrets.randbelow(200) + 1}.{secrets.randbelow(200) + 1}"
    variables = {
        **os.environ,
        "KUBECONFIG": str(kubeconfig),
        "SLIPWAY_SANDBOX_POD_IP": address,
        "SLIPWAY_SANDBOX_HOSTS": str(hosts),
    }
    operator = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "slipway_sandbox.images.keda", "operator", env=variables
    )
    try:
        async with asyncio.timeout(15):
            while not ((await client.get(path) or {}).get("status") or {}).get("conditions"):
                assert operator.returncode is None
                await asyncio.sleep(0.05)
    finally:
        operator.terminate()
        assert await operator.wait() == 0
    [condition] = (await client.get(path) or {})["status"]["conditions"]
    assert (condition["type"], condition["status"]) == ("Available", "True")
