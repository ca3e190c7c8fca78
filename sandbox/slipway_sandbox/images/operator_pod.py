"""Shared by operator pods: an API client from a kubeconfig, health endpoints, stop on SIGTERM."""

from __future__ import annotations

import asyncio
import base64
import logging
import signal
import ssl
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import yaml
from aiohttp import web

from slipway_sandbox.apiclient import ApiClient

FORMAT = "%(asctime)s\t%(levelname)s\t%(name)s\t%(message)s"


def client_from_kubeconfig(path: Path) -> ApiClient:
    """Make a client from a kubeconfig's current context and its bearer token. Raises KeyError, StopIteration."""
    config: Any = yaml.safe_load(path.read_text())
    context = next(c["context"] for c in config["contexts"] if c["name"] == config["current-context"])
    cluster = next(c["cluster"] for c in config["clusters"] if c["name"] == context["cluster"])
    user = next(u["user"] for u in config["users"] if u["name"] == context["user"])
    trust = None
    if cluster["server"].startswith("https"):
        data = cluster.get("certificate-authority-data")
        pem = base64.b64decode(data).decode() if data else None
        trust = ssl.create_default_context(cadata=pem, cafile=cluster.get("certificate-authority"))
    return ApiClient(cluster["server"], user["token"], trust)


@asynccontextmanager
async def health(host: str, port: int) -> AsyncIterator[None]:
    """Serve /healthz and /readyz while the block runs."""

    async def fine(_: web.Request) -> web.Response:
        return web.Response(text="ok")

    application = web.Application()
    application.router.add_get("/healthz", fine)
    application.router.add_get("/readyz", fine)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        yield
    finally:
        await runner.cleanup()


async def until_told_to_end(work: Coroutine[Any, Any, None], log: logging.Logger) -> None:
    """Run until it fails or SIGTERM or SIGINT arrives."""
    loop, task = asyncio.get_running_loop(), asyncio.create_task(work)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        log.info("Shutdown signal received, waiting for all workers to finish")
