"""One process for everything of a region but AWS's own API: control planes, nodes, hub, Prometheus' address.

`python -m slipway_sandbox.region --root DIR` serves until SIGTERM. EKS (in the aws process) asks for a control plane
at this process's own door when a cluster is created, and takes it away when the cluster is deleted:

    PUT    /control-planes/NAME  -> {"endpoint": "https://127.0.0.1:PORT", "certificateAuthority": base64 PEM}
    DELETE /control-planes/NAME
    GET    /healthz
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import secrets
import shutil
import signal
import ssl
import sys
from collections.abc import Coroutine
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import uvloop
from aiohttp import web

from slipway_sandbox.apiclient import ApiClient, ApiError
from slipway_sandbox.aws.tokens import authenticate_eks
from slipway_sandbox.control_plane import credentials
from slipway_sandbox.control_plane.front_door import FrontDoor
from slipway_sandbox.controllers import run_controllers
from slipway_sandbox.faults import Faults
from slipway_sandbox.hub.server import start_hub
from slipway_sandbox.kubernetes.certificates import Authority, make_authority
from slipway_sandbox.kubernetes.kubeconfig import write_kubeconfig
from slipway_sandbox.kubernetes.server import ApiServer
from slipway_sandbox.settings import Settings

PROMETHEUS = "/api/v1/namespaces/monitoring/services/kube-prometheus-stack-prometheus:9090/proxy"
ADMIN = "system:sandbox-admin"


@dataclass
class ControlPlane:
    """One cluster's API server and what runs beside it."""

    name: str
    endpoint: str
    token: str
    server: ApiServer | FrontDoor
    client: ApiClient
    share: int
    tasks: list[asyncio.Task[None]] = field(default_factory=list)


class Region:
    """The control planes of one sandbox, made and removed as EKS clusters are."""

    def __init__(self, settings: Settings, faults: Faults, authority: Authority) -> None:
        self._settings, self._faults, self._authority = settings, faults, authority
        self._planes: dict[str, ControlPlane] = {}
        self._making = asyncio.Lock()
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def create(self, name: str) -> ControlPlane:
        """The control plane of that name, made where there is none."""
        async with self._making:
            if name not in self._planes:
                if self._settings.kubeconfig and self._planes:
                    raise web.HTTPConflict(
                        text=f"the control plane of {self._settings.kubeconfig} serves {next(iter(self._planes))} already"
                    )
                self._planes[name] = await self._start(name)
            return self._planes[name]

    async def delete(self, name: str) -> None:
        async with self._making:
            plane = self._planes.pop(name, None)
            if plane:
                await self._stop(plane)

    async def close(self) -> None:
        for name in list(self._planes):
            await self.delete(name)

    @property
    def first(self) -> ControlPlane | None:
        return next(iter(self._planes.values()), None)

    def describe(self, plane: ControlPlane) -> dict[str, str]:
        return {
            "endpoint": plane.endpoint,
            "certificateAuthority": base64.b64encode(self._authority.ca_pem).decode(),
        }

    async def _start(self, name: str) -> ControlPlane:
        # boto3 and all: 15 MB that a region without clusters does without.
        from slipway_sandbox.nodes import run_nodes

        token = secrets.token_urlsafe(32)

        async def authenticate(bearer: str | None) -> str:
            if bearer and secrets.compare_digest(bearer, token):
                return ADMIN
            return await authenticate_eks(
                bearer, cluster=name, settings=self._settings, now=datetime.now(UTC)
            )

        settings = self._settings
        taken = {plane.share for plane in self._planes.values()}
        share = next(number for number in range(len(taken) + 1) if number not in taken)
        server: ApiServer | FrontDoor
        if settings.kubeconfig:
            theirs = credentials.read(Path(settings.kubeconfig))
            server = FrontDoor(authenticate=authenticate, credentials=theirs, network=settings.network)
        else:
            server = ApiServer(
                name=name,
                authenticate=authenticate,
                faults=self._faults,
                service_network=settings.network,
                service_share=share,
            )
        port = await server.start("127.0.0.1", 0, self._authority.server_context(["127.0.0.1", "localhost"]))
        trust = ssl.create_default_context(cadata=self._authority.ca_pem.decode())
        client = ApiClient(f"https://127.0.0.1:{port}", token, trust)
        await client.__aenter__()
        plane = ControlPlane(name, f"https://127.0.0.1:{port}", token, server, client, share)
        if settings.kubeconfig:  # its own controllers serve; what a killed sandbox left goes
            await _take_nodes_away(client)
        else:
            self._run(plane, run_controllers(client, self._faults), "controllers")
        self._run(plane, run_nodes(client, self._settings, self._faults, name), "nodes")
        self._write_kubeconfig(plane)
        return plane

    def _run(self, plane: ControlPlane, work: Coroutine[Any, Any, None], what: str) -> None:
        task = asyncio.create_task(work, name=f"{what} of {plane.name}")
        task.add_done_callback(self._ended)
        plane.tasks.append(task)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Controllers and nodes never end by themselves: when one does, the region is broken and says so."""
        if task.cancelled() or self.failed.done():
            return
        self.failed.set_exception(task.exception() or RuntimeError(f"{task.get_name()} ended"))

    async def _stop(self, plane: ControlPlane) -> None:
        for task in reversed(plane.tasks):
            task.cancel()
        await asyncio.gather(*plane.tasks, return_exceptions=True)
        if self._settings.kubeconfig:
            await _take_nodes_away(plane.client)
        await plane.client.__aexit__()
        await plane.server.stop()
        shutil.rmtree(self._folder(plane.name), ignore_errors=True)

    def _folder(self, name: str) -> Path:
        return self._settings.root / "clusters" / name

    def _write_kubeconfig(self, plane: ControlPlane) -> None:
        """For people: kubectl with a token made the EKS way, by an exec plugin, as `aws eks get-token` is."""
        command = {
            "apiVersion": "client.authentication.k8s.io/v1",
            "command": sys.executable,
            "args": ["-m", "slipway_sandbox.aws.tokens", plane.name],
            "env": [{"name": "SLIPWAY_SANDBOX_ROOT", "value": str(self._settings.root)}],
            "interactiveMode": "Never",
        }
        for folder in (self._folder(plane.name), self._settings.root):
            path, authority = folder / "kubeconfig", self._authority.ca_pem
            write_kubeconfig(path, plane.name, plane.endpoint, authority, {"exec": command})


async def _take_nodes_away(client: ApiClient) -> None:
    """What we brought to a control plane that stays; its own controllers then end the pods that were on them."""
    try:
        for node in await client.list(client.path("v1", "nodes")):
            if not str(node["spec"].get("providerID", "")).startswith("aws:///"):
                continue
            path = client.path("v1", "nodes", None, node["metadata"]["name"])
            if node["metadata"].get("finalizers"):  # Karpenter's: its pod ends with our nodes
                await client.patch(path, {"metadata": {"finalizers": None}})
            await client.delete(path)
    except (ApiError, aiohttp.ClientError, TimeoutError) as error:
        print(f"nodes may be left in the control plane: {error}", file=sys.stderr, flush=True)


def door(region: Region) -> web.Application:
    async def put(request: web.Request) -> web.Response:
        return web.json_response(region.describe(await region.create(request.match_info["name"])))

    async def delete(request: web.Request) -> web.Response:
        await region.delete(request.match_info["name"])
        return web.Response(status=204)

    async def health(_: web.Request) -> web.Response:
        return web.Response(text="ok")

    app = web.Application()
    app.router.add_put("/control-planes/{name}", put)
    app.router.add_delete("/control-planes/{name}", delete)
    app.router.add_get("/healthz", health)
    return app


def metrics_address(region: Region) -> web.Application:
    """PROMETHEUS_URL: the first cluster's Prometheus through its API server's service proxy."""

    async def forward(request: web.Request) -> web.Response:
        plane = region.first
        if plane is None:
            return web.Response(status=503, text="there is no cluster, so there is no Prometheus")
        session = plane.client._session
        assert session is not None
        async with session.request(
            request.method,
            plane.endpoint + PROMETHEUS + request.rel_url.raw_path,
            params=request.query,
            data=await request.read(),
            headers={"Content-Type": request.headers.get("Content-Type", "application/octet-stream")},
            timeout=aiohttp.ClientTimeout(total=30),
        ) as answer:
            return web.Response(
                status=answer.status, body=await answer.read(), content_type=answer.content_type
            )

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", forward)
    return app


async def serve(settings: Settings) -> None:
    """Until SIGTERM or SIGINT, or until a part of it ends that never should."""
    faults = Faults(settings.faults_file)
    region = Region(settings, faults, make_authority())
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    hub = await start_hub(settings, faults)
    runners = []
    for app, port in (
        (door(region), settings.control_port),
        (metrics_address(region), settings.metrics_port),
    ):
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        runners.append(runner)
    print("region ready", flush=True)
    region.failed.add_done_callback(lambda _: stop.set())
    await stop.wait()
    await region.close()
    for runner in runners:
        await runner.cleanup()
    await hub.stop()
    if region.failed.done():
        region.failed.result()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m slipway_sandbox.region")
    parser.add_argument("--root", type=Path, required=True)
    uvloop.run(serve(Settings.load(parser.parse_args().root.resolve())))


if __name__ == "__main__":
    main()
