from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from slipway_sandbox.faults import Faults
from slipway_sandbox.images.prometheus.discovery import Cluster

Object = dict[str, Any]
PAGE = """# HELP vllm:num_requests_waiting Number of requests waiting to be processed.
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{engine="0",model_name="tiny"} 3.0
odd{text="a\\"b\\\\c\\nd, }",namespace="its-own"} +Inf 1700000000000
"""


@dataclass
class Page:
    """A target's page, changed by a test as it goes."""

    url: str = ""
    address: str = ""
    text: str = PAGE
    status: int = 200
    asked: list[str] = field(default_factory=list)
    thrice: asyncio.Event = field(default_factory=asyncio.Event)


async def serve(app: web.Application) -> tuple[web.AppRunner, int]:
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return runner, runner.addresses[0][1]


@pytest.fixture
async def page() -> AsyncIterator[Page]:
    made = Page()

    async def answer(request: web.Request) -> web.Response:
        made.asked.append(request.path_qs)
        if len(made.asked) >= 3:
            made.thrice.set()
        return web.Response(text=made.text, status=made.status)

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner, port = await serve(app)
    made.address = f"127.0.0.1:{port}"
    made.url = f"http://{made.address}/metrics"
    yield made
    await runner.cleanup()


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as made:
        yield made


@pytest.fixture
def faults(tmp_path: Path) -> Faults:
    return Faults(tmp_path / "faults.json")


def pod(name: str, address: str, namespace: str = "llm", phase: str = "Running", **labels: str) -> Object:
    host, _, port = address.rpartition(":")
    ports = [{"name": "http", "containerPort": int(port)}]
    return {
        "metadata": {"name": name, "namespace": namespace, "labels": labels or {"app": "vllm"}, "uid": name},
        "spec": {"nodeName": "node-1", "containers": [{"name": "vllm", "ports": ports}]},
        "status": {"phase": phase, "podIP": host},
    }


def pod_monitor(endpoint: Object, namespace: str = "llm", **spec: Any) -> Object:
    return {
        "metadata": {"name": "vllm", "namespace": namespace, "labels": {"release": "kps"}},
        "spec": {
            "selector": {"matchLabels": {"app": "vllm"}},
            "podMetricsEndpoints": [{"port": "http", **endpoint}],
            **spec,
        },
    }


def prometheus(**spec: Any) -> Object:
    everything: Object = {
        f"{kind}Monitor{what}": {}
        for kind in ("pod", "service")
        for what in ("Selector", "NamespaceSelector")
    }
    return {"metadata": {"name": "kps", "namespace": "monitoring"}, "spec": {**everything, **spec}}


def cluster(*pods: Object, monitor: Object | None = None, **spec: Any) -> Cluster:
    return Cluster(
        prometheus=prometheus(**spec),
        pod_monitors=[monitor or pod_monitor({})],
        pods=list(pods),
        namespaces=[{"metadata": {"name": name, "labels": {"name": name}}} for name in ("llm", "monitoring")],
    )
