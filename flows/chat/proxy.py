"""Serve the chat page on loopback, and pass its requests on with the API key, which the page never has.

Its address has a secret part: no other page of the browser, and no other user of this machine, can ask through it.
"""

from __future__ import annotations

import json
import secrets
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

PAGE = Path(__file__).with_name("page.html")
LOOPBACK = "127.0.0.1"
LONGEST = 1 << 20  # bytes of a request of the page
# a first token may wait for a model that is woken; between two bytes of an answer
CONNECT_SECONDS, READ_SECONDS = 10.0, 600.0
MOST_TOKENS = 1024
# the page loads nothing from elsewhere and asks nobody else
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-store",
}


@dataclass(frozen=True)
class Upstream:
    """A model's endpoint: the base URL ends in /v1. `authority`: the file of its certificate's private authority."""

    base_url: str
    key: str
    model: str
    environment: str
    authority: Path | None = None


def application(upstream: Upstream, word: str) -> Starlette:
    """The page at /WORD/, and what it asks below it."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        timeout = httpx.Timeout(READ_SECONDS, connect=CONNECT_SECONDS)
        verified = ssl.create_default_context(cafile=upstream.authority)
        async with httpx.AsyncClient(timeout=timeout, trust_env=False, verify=verified) as client:
            app.state.client = client
            yield

    async def page(request: Request) -> Response:
        return HTMLResponse(PAGE.read_text(), headers=HEADERS)

    async def model(request: Request) -> Response:
        return JSONResponse({"model": upstream.model, "environment": upstream.environment})

    async def chat(request: Request) -> Response:
        return await _pass_on(request, upstream)

    routes = [
        Route(f"/{word}/", page),
        Route(f"/{word}/model", model),
        Route(f"/{word}/chat", chat, methods=["POST"]),
    ]
    hosts = Middleware(TrustedHostMiddleware, allowed_hosts=[LOOPBACK], www_redirect=False)
    return Starlette(routes=routes, middleware=[hosts], lifespan=lifespan)


async def _pass_on(request: Request, upstream: Upstream) -> Response:
    """The messages of the page to the model, and its answer as it comes; nothing else of the request goes along."""
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > LONGEST:
            return JSONResponse({"error": "the conversation is too long for this page"}, status_code=413)
    try:
        messages = json.loads(body)["messages"]
    except (ValueError, KeyError, TypeError):
        return JSONResponse({"error": "no messages"}, status_code=400)
    asked: Mapping[str, Any] = {
        "model": upstream.model,
        "messages": messages,
        "stream": True,
        "max_tokens": MOST_TOKENS,
    }
    client: httpx.AsyncClient = request.app.state.client
    headers = {"Authorization": f"Bearer {upstream.key}"}
    sent = client.build_request("POST", f"{upstream.base_url}/chat/completions", json=asked, headers=headers)
    try:
        answer = await client.send(sent, stream=True)
    except httpx.HTTPError as error:
        return JSONResponse({"error": f"{upstream.base_url} does not answer: {error!r}"}, status_code=502)
    return StreamingResponse(
        _pieces(answer), status_code=answer.status_code, media_type=answer.headers.get("content-type")
    )


async def _pieces(answer: httpx.Response) -> AsyncIterator[bytes]:
    try:
        async for piece in answer.aiter_raw():
            yield piece
    finally:
        await answer.aclose()


def secret_word() -> str:
    """A part of an address that nobody guesses."""
    return secrets.token_urlsafe(24)


Opened = Callable[[str], None]


def serve(upstream: Upstream, opened: Opened, port: int = 0) -> None:
    """Serve until Ctrl-C. `opened`: is told the address once it answers."""
    import uvicorn

    word = secret_word()
    config = uvicorn.Config(
        application(upstream, word), host=LOOPBACK, port=port, log_level="error", access_log=False
    )

    class Server(uvicorn.Server):
        async def startup(self, sockets: Any = None) -> None:
            await super().startup(sockets)
            at = self.servers[0].sockets[0].getsockname()[1]
            opened(f"http://{LOOPBACK}:{at}/{word}/")

    Server(config).run()
