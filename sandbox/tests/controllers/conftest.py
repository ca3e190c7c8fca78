"""A control plane over HTTP with the controllers on it; the tests play kubelet themselves.

Or, by SLIPWAY_CONFORMANCE_KUBECONFIG, somebody else's: see control_plane.py.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from slipway_sandbox.apiclient import STRATEGIC, ApiClient, ApiError
from slipway_sandbox.controllers import Timing, run_controllers
from slipway_sandbox.controllers.controller import utc_now
from slipway_sandbox.controllers.nodelifecycle import NOT_READY
from slipway_sandbox.controllers.objects import Object, Resource, is_deleting, timestamp
from slipway_sandbox.faults import Faults
from slipway_sandbox.kubernetes.errors import Unauthorized
from slipway_sandbox.kubernetes.server import ApiServer
from tests.controllers.control_plane import THEIRS, theirs

TOKEN = "test"
# A real scheduler backs off for up to ten seconds, a real job controller for ten after the first failed pod.
DEADLINE_SECONDS = 60.0 if THEIRS else 10.0
PAUSE = "registry.k8s.io/pause:3.10"


@dataclass
class Kubelet:
    """Runs every pod that is bound: ready at once, gone as soon as it is deleted. `hold` names pods to leave alone."""

    client: ApiClient
    ready: bool = True
    ends: dict[str, str] = field(default_factory=dict)
    """phase by job name: pods of that job end at once"""
    linger: bool = False
    """deleted pods stay until `release`"""
    _seen: dict[str, int] = field(default_factory=dict)

    async def run(self) -> None:
        while True:
            try:
                await self._list_and_watch()
            except ApiError as error:
                if error.code != 500:
                    raise
            await asyncio.sleep(0.01)

    async def _list_and_watch(self) -> None:
        listing = await self.client.request("GET", "/api/v1/pods")
        for pod in listing["items"]:
            await self._look(pod)
        version = listing["metadata"]["resourceVersion"]
        async for kind, pod in self.client.watch("/api/v1/pods", version):
            if kind in ("ADDED", "MODIFIED"):
                await self._look(pod)

    async def _look(self, pod: Object) -> None:
        meta = pod["metadata"]
        if not pod["spec"].get("nodeName"):
            return
        path = ApiClient.path("v1", "pods", meta["namespace"], meta["name"])
        try:
            if is_deleting(pod):
                if not self.linger:
                    await self.client.delete(path, gracePeriodSeconds=0)
            elif meta["uid"] not in self._seen:
                number = self._seen[meta["uid"]] = len(self._seen) + 1
                phase = self.ends.get((meta.get("labels") or {}).get("job-name", ""), "Running")
                status = self.status(pod, phase, number)
                await self.client.patch(path + "/status", {"status": status}, STRATEGIC)
        except ApiError as error:
            if error.code in (409, 500):  # as a kubelet: again, until it is through
                self._seen.pop(meta["uid"], None)
                await asyncio.sleep(0.01)
                await self._look(pod)
            elif error.code != 404:
                raise

    def status(self, pod: Object, phase: str, number: int) -> Object:
        now = timestamp(utc_now())
        ready = "True" if self.ready and phase == "Running" else "False"
        return {
            "phase": phase,
            "podIP": _address(number),
            "podIPs": [{"ip": _address(number)}],
            "hostIP": "198.18.251.1",
            "startTime": now,
            "conditions": [
                {"type": kind, "status": ready, "lastTransitionTime": now}
                for kind in ("Ready", "ContainersReady")
            ],
        }


def _address(number: int) -> str:
    """Not loopback, which a real API server refuses in endpoints."""
    return f"198.18.{1 + number // 250}.{1 + number % 250}"


@dataclass
class Cluster:
    """One API server with controllers, and the few verbs the tests speak."""

    client: ApiClient
    faults: Faults
    kubelet: Kubelet
    controllers: asyncio.Task[None] | None = None

    async def create(self, resource: Resource, body: Object) -> Object:
        namespace = body["metadata"].get("namespace", "default") if resource.namespaced else None
        document = {"apiVersion": resource.api, "kind": resource.kind, **body}
        return await self.client.create(ApiClient.path(resource.api, resource.plural, namespace), document)

    async def get(self, resource: Resource, name: str, namespace: str = "default") -> Object | None:
        scope = namespace if resource.namespaced else None
        return await self.client.get(ApiClient.path(resource.api, resource.plural, scope, name))

    async def all(self, resource: Resource, **params: str) -> list[Object]:
        return await self.client.list(ApiClient.path(resource.api, resource.plural), **params)

    async def patch(
        self, resource: Resource, name: str, body: Object, sub: str = "", namespace: str = "default"
    ) -> Object:
        scope = namespace if resource.namespaced else None
        return await self.client.patch(
            ApiClient.path(resource.api, resource.plural, scope, name, sub or None), body
        )

    async def delete(self, resource: Resource, name: str, namespace: str = "default", **options: Any) -> None:
        scope = namespace if resource.namespaced else None
        await self.client.delete(ApiClient.path(resource.api, resource.plural, scope, name), **options)

    async def node(self, name: str, taints: list[Object] | None = None, **labels_and: Any) -> Object:
        """A ready node of 4 CPUs, 16 GiB and 20 pods; `gpus` adds nvidia.com/gpu, `labels` labels."""
        gpus, labels = labels_and.get("gpus", 0), labels_and.get("labels", {})
        amounts = {"cpu": "4", "memory": "16Gi", "pods": "20", "ephemeral-storage": "80Gi"}
        if gpus:
            amounts["nvidia.com/gpu"] = str(gpus)
        info = dict.fromkeys(
            (
                "architecture", "bootID", "containerRuntimeVersion", "kernelVersion", "kubeProxyVersion",
                "kubeletVersion", "machineID", "operatingSystem", "osImage", "systemUUID",
            ),
            "test",
        )  # fmt: skip
        node: Object = {
            "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, **labels}},
            "spec": {"taints": taints} if taints else {},
        }
        status = {
            "capacity": amounts,
            "allocatable": amounts,
            "nodeInfo": info,
            # The moment too: a real node controller that has seen none takes the node for a lost namesake.
            "conditions": [
                {
                    "type": "Ready",
                    "status": "True",
                    "reason": "KubeletReady",
                    "lastHeartbeatTime": timestamp(utc_now()),
                }
            ],
        }
        await self.create(NODES, node | {"status": status})
        await self.patch(NODES, name, {"status": status}, "status")
        # Every node begins tainted as not ready where that is taken off by a controller.
        return await self.until_that(
            NODES, name, lambda n: all(t["key"] != NOT_READY for t in n["spec"].get("taints") or [])
        )

    async def until(self, probe: Callable[[], Awaitable[Any]], what: str) -> Any:
        """The probe's first true answer; AssertionError when it has none within DEADLINE_SECONDS."""
        deadline = asyncio.get_running_loop().time() + DEADLINE_SECONDS
        answer = None
        while asyncio.get_running_loop().time() < deadline:
            assert self.controllers is None or not self.controllers.done(), "the controllers ended"
            if answer := await probe():
                return answer
            await asyncio.sleep(0.01)
        raise AssertionError(f"never happened: {what}")

    async def until_that(
        self, resource: Resource, name: str, holds: Callable[[Object], Any], namespace: str = "default"
    ) -> Object:
        """The object as soon as `holds` says so of it."""
        seen: list[Object | None] = [None]

        async def probe() -> Object | None:
            seen[0] = await self.get(resource, name, namespace)
            return seen[0] if seen[0] is not None and holds(seen[0]) else None

        try:
            found: Object = await self.until(probe, f"{resource.kind} {name}")
        except AssertionError as error:
            raise AssertionError(f"{error}; last seen: {seen[0]}") from None
        return found

    async def until_gone(self, resource: Resource, name: str, namespace: str = "default") -> None:
        async def probe() -> bool:
            return await self.get(resource, name, namespace) is None

        await self.until(probe, f"{resource.kind} {name} is gone")

    async def said(self, kind: str, *reasons: str) -> set[tuple[str, str, str, str]]:
        """(type, reason, who says so, message) of every event about objects of a kind, or of these reasons alone."""
        return {
            (event["type"], event["reason"], event.get("reportingComponent", ""), event["message"])
            for event in await self.all(EVENTS)
            if event["involvedObject"]["kind"] == kind and (not reasons or event["reason"] in reasons)
        }

    async def until_said(self, kind: str, *wanted: tuple[str, str, str, str]) -> None:
        """Wait until all of these events about an object of the kind are there."""

        async def probe() -> bool:
            return set(wanted) <= await self.said(kind)

        try:
            await self.until(probe, f"events about {kind}")
        except AssertionError as error:
            raise AssertionError(f"{error}; said: {sorted(await self.said(kind))}") from None

    async def events(self, reason: str) -> list[Object]:
        return [event for event in await self.all(EVENTS) if event["reason"] == reason]


NODES = Resource("v1", "nodes", "Node", namespaced=False)
EVENTS = Resource("v1", "events", "Event")


def pod_spec(**more: Any) -> Object:
    return {"containers": [{"name": "main", "image": PAUSE}], **more}


def deployment(name: str, replicas: int = 1, image: str = PAUSE, **spec: Any) -> Object:
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "main", "image": image}]}}
    return {
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template, **spec},
    }


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    faults = Faults(tmp_path / "faults.json")
    async with theirs(Path(THEIRS)) if THEIRS else _ours(faults) as client:
        kubelet = Kubelet(client)
        running = [asyncio.create_task(kubelet.run())]
        if not THEIRS:
            timing = Timing(job_backoff=0.05, orphan_pod_grace=0.2)
            running.append(asyncio.create_task(run_controllers(client, faults, timing=timing)))
        yield Cluster(client, faults, kubelet, running[-1])
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


@contextlib.asynccontextmanager
async def _ours(faults: Faults) -> AsyncIterator[ApiClient]:
    async def authenticate(token: str | None) -> str:
        if token != TOKEN:
            raise Unauthorized
        return "system:kube-controller-manager"

    server = ApiServer(name="test", authenticate=authenticate, faults=faults)
    port = await server.start("127.0.0.1", 0, None)
    async with ApiClient(f"http://127.0.0.1:{port}", TOKEN, None) as client:
        yield client
    await server.stop()
