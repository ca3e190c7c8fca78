"""The node's HTTP server: container logs, as the API server asks a kubelet for them."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import datetime

from aiohttp import web

from slipway_sandbox.nodes.kubelet.container import Container
from slipway_sandbox.nodes.kubelet.logs import LogQuery
from slipway_sandbox.nodes.kubelet.pod import PodWorker

FindPod = Callable[[str, str], PodWorker | None]


class KubeletServer:
    """`GET /containerLogs/{namespace}/{pod}/{container}` and `/healthz` on the node's address."""

    def __init__(self, find: FindPod) -> None:
        self._find = find
        self._runner: web.AppRunner | None = None

    async def start(self, address: str) -> int:
        """Listen on a free port of `address`; the port."""
        app = web.Application()
        app.router.add_get("/containerLogs/{namespace}/{pod}/{container}", self._logs)
        app.router.add_get("/healthz", self._healthy)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2, handler_cancellation=True)
        await self._runner.setup()
        site = web.TCPSite(self._runner, address, 0)
        await site.start()
        return int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        if self._runner:
            runner, self._runner = self._runner, None
            await runner.cleanup()

    async def _healthy(self, _: web.Request) -> web.Response:
        return web.Response(text="ok")

    async def _logs(self, request: web.Request) -> web.StreamResponse:
        names = request.match_info
        worker = self._find(names["namespace"], names["pod"])
        if worker is None:
            raise web.HTTPNotFound(text=f'pod "{names["pod"]}" does not exist')
        container = _container(worker, names["container"])
        previous = request.query.get("previous") == "true"
        log = container.previous_log if previous else container.log
        if log is None:
            kind = "previous terminated" if previous else ""
            where = f'{kind} container "{names["container"]}" in pod "{names["pod"]}"'.strip()
            why = "not found" if previous else f"is waiting to start: {_waiting(container)}"
            raise web.HTTPBadRequest(text=f"{where} {why}")
        query = _query(request)
        response = web.StreamResponse(headers={"Content-Type": "text/plain; charset=utf-8"})
        await response.prepare(request)
        try:
            async for chunk in log.read(query):
                await response.write(chunk)
            await response.write_eof()
        except ConnectionError:
            pass  # whoever followed the log has gone: the normal end of following
        return response


def _container(worker: PodWorker, name: str) -> Container:
    for container in worker.containers:
        if container.spec["name"] == name:
            return container
    spec = worker.pod["spec"]
    if name in {c["name"] for c in (*spec["containers"], *(spec.get("initContainers") or []))}:
        raise web.HTTPBadRequest(
            text=f'container "{name}" in pod "{worker.name}" is waiting to start: PodInitializing'
        )
    raise web.HTTPNotFound(text=f'container "{name}" not found in pod "{worker.name}"')


def _waiting(container: Container) -> str:
    return str(container.state.state.get("waiting", {}).get("reason", "ContainerCreating"))


def _query(request: web.Request) -> LogQuery:
    """Raises HTTPBadRequest for a number or a time that is none."""

    def number(key: str) -> float | None:
        text = request.query.get(key)
        if text is None:
            return None
        try:
            value = float(text)
        except ValueError:
            raise web.HTTPBadRequest(text=f"{key}: not a number: {text!r}") from None
        if not math.isfinite(value) or value < 0:
            raise web.HTTPBadRequest(text=f"{key}: must be zero or more: {text!r}")
        return value

    def moment(key: str) -> datetime | None:
        text = request.query.get(key)
        try:
            return None if text is None else datetime.fromisoformat(text)
        except ValueError:
            raise web.HTTPBadRequest(text=f"{key}: not a time: {text!r}") from None

    tail, limit = number("tailLines"), number("limitBytes")
    return LogQuery(
        tail_lines=None if tail is None else int(tail),
        since_seconds=number("sinceSeconds"),
        since=moment("sinceTime"),
        timestamps=request.query.get("timestamps") == "true",
        limit_bytes=None if limit is None else int(limit),
        follow=request.query.get("follow") == "true",
    )
