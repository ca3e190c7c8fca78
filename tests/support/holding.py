"""The holder's service over real HTTP on loopback, in front of a tiny vLLM, with a cluster that a test steers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from tasks.holding.decide import Seen
from tasks.holding.service import application
from tasks.holding.waking import Wake
from tasks.records.hold import HeldModel, HolderSettings
from tests.support.loopback import free_port

KEY = "sk-engine"
MODEL = "tiny"
PATIENCE = 30.0


@asynccontextmanager
async def serve(app: ASGIApp, port: int | None = None) -> AsyncIterator[str]:
    """HOST:PORT of an application that is up."""
    port = port or free_port()
    server = uvicorn.Server(
        uvicorn.Config(app, host="127.0.0.1", port=port, log_level="critical", timeout_graceful_shutdown=1)
    )
    running = asyncio.create_task(server.serve())
    try:
        await reached(lambda: server.started)
        yield f"127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await running


async def reached(true: Any) -> None:
    """Wait for a state."""
    async with asyncio.timeout(PATIENCE):
        while not true():  # noqa: ASYNC110 what is waited for has no event
            await asyncio.sleep(0.01)


@dataclass
class Cluster:
    """A Deployment that sleeps until it is woken, and whose pods are ready when the test says so."""

    replicas: int | None = 0
    ready: list[str] = field(default_factory=list)
    wakes: int = 0
    expected: float | None = None
    first_tokens: int = 0
    looks: int = 0

    def look(self, model: str) -> Seen:
        self.looks += 1
        return Seen(ready=tuple(self.ready), replicas=self.replicas)

    def wake(self, model: str, replicas: int) -> Wake:
        self.wakes += 1
        self.replicas = replicas
        return self.last_wake(model)

    def last_wake(self, model: str) -> Wake:
        return Wake(at=None if self.expected is None else 0.0, expected=self.expected)

    def first_token(self, model: str) -> None:
        self.first_tokens += 1


@dataclass
class Engine:
    """Answers as vLLM does: a JSON, or events of which `gate` lets each go. `status`: of its answers."""

    status: int = 200
    breaks_off: bool = False
    asked: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    left: int = 0
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    async def answer(self, request: Request) -> Response:
        body = json.loads(await request.body())
        self.asked.append(body)
        self.headers.append(dict(request.headers))
        if self.status != 200:
            return JSONResponse({"error": {"message": "no", "type": "x", "code": None}}, self.status)
        if not body.get("stream"):
            return JSONResponse({"id": len(self.asked), "choices": [{"text": "yes"}]})
        return StreamingResponse(self._events(), media_type="text/event-stream")

    async def _events(self) -> AsyncIterator[bytes]:
        try:
            yield b'data: {"n":1}\n\n'
            await self.gate.wait()
            if self.breaks_off:
                raise ConnectionError
            yield b'data: {"n":2}\n\n'
            yield b"data: [DONE]\n\n"
        except asyncio.CancelledError:
            self.left += 1
            raise


@dataclass
class Holding:
    """What a test talks to."""

    client: httpx.AsyncClient
    cluster: Cluster
    engine: Engine
    engine_address: str
    app: Starlette

    @property
    def held(self) -> int:
        """Requests that have a place."""
        [service] = [route.app for route in self.app.routes if route.path != "/healthz"]  # type: ignore[attr-defined]
        return int(sum(service.room.held.values()))

    async def ask(self, *, stream: bool = False, **more: Any) -> httpx.Response:
        """One completion."""
        return await self.client.post("/v1/completions", json={"model": MODEL, "stream": stream, **more})


@asynccontextmanager
async def holding(
    *, rate: float | None = None, slots: int = 100, cluster: Cluster | None = None, **over: Any
) -> AsyncIterator[Holding]:
    """The service with quick heartbeats. `over`: fields of HolderSettings."""
    base: dict[str, Any] = {
        "environment": "e",
        "namespace": "llm",
        "heartbeat": 0.05,
        "requests": 100,
        "body_bytes": 64 * 2**20,
        "longest": 60.0,
        "ramp": 0.0,
        "models": {MODEL: HeldModel(rate=rate, slots=slots, replicas=1)},
    }
    cluster, engine = cluster or Cluster(), Engine()
    app = application(HolderSettings.model_validate(base | over), KEY, cluster)
    fake = Starlette(routes=[Route("/v1/{path:path}", engine.answer, methods=["POST"])])
    headers = {"authorization": f"Bearer {KEY}", "x-slipway-model": MODEL}
    async with (
        serve(fake) as engine_address,
        serve(app) as address,
        httpx.AsyncClient(
            base_url=f"http://{address}", headers=headers, timeout=PATIENCE, trust_env=False
        ) as client,
    ):
        yield Holding(client, cluster, engine, engine_address, app)
