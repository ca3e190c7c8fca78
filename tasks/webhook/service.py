"""The service: takes webhooks of the hub, refuses those without its secret, and answers before anything is looked at."""

from __future__ import annotations

import asyncio
import hmac
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from tasks.records.errors import PrefectUnavailable
from tasks.webhook.decide import Followed, Malformed, decide
from tasks.webhook.looks import Looks

log = logging.getLogger("webhook")

LARGEST_BODY = 256 * 2**10
BODY_SECONDS = 10.0
# forged requests are told once in so many seconds, with how many there were
TELL_SECONDS = 60.0


class Forged:
    """Counts requests without the secret, and tells of them. `tell(count, peer)` blocks, and raises PrefectUnavailable."""

    def __init__(self, tell: Callable[[int, str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._tell, self._clock = tell, clock
        self._untold = 0
        self._told_at = float("-inf")
        self._telling: asyncio.Task[None] | None = None

    def note(self, peer: str) -> None:
        self._untold += 1
        now = self._clock()
        if now - self._told_at < TELL_SECONDS:
            return
        count, self._untold, self._told_at = self._untold, 0, now
        log.warning("refused %d requests without the webhook's secret, the last from %s", count, peer)
        self._telling = asyncio.create_task(self._tell_it(count, peer))

    async def _tell_it(self, count: int, peer: str) -> None:
        try:
            await asyncio.to_thread(self._tell, count, peer)
        except PrefectUnavailable as error:
            log.warning("%s: %s", error.cause, "; ".join(error.evidence))


class Service:
    """Answers POST /hub. `secret`: the one that the webhook is registered with."""

    def __init__(self, secret: str, known: Sequence[Followed], looks: Looks, forged: Forged) -> None:
        self._secret, self._known, self._looks, self._forged = secret.encode(), known, looks, forged

    async def take(self, request: Request) -> Response:
        given = request.headers.get("x-webhook-secret", "").encode("latin-1")
        if not hmac.compare_digest(given, self._secret):
            self._forged.note(request.client.host if request.client else "")
            return _refused(401, "X-Webhook-Secret is not the one of this webhook")
        try:
            async with asyncio.timeout(BODY_SECONDS):
                body = await _read(request)
        except TimeoutError:
            return _refused(408, f"the body did not come within {BODY_SECONDS:.0f} s")
        if body is None:
            return _refused(413, f"a payload has at most {LARGEST_BODY} bytes")
        try:
            concerned = decide(body, self._known)
        except Malformed as wrong:
            return _refused(400, f"not a payload of the hub: {wrong}")
        for model in concerned.models:
            self._looks.want(model)
        log.info("webhook: %s", ", ".join(concerned.models) or concerned.why)
        return JSONResponse({"models": list(concerned.models), "why": concerned.why}, 202)


def application(service: Service, looks: Looks) -> Starlette:
    """The routes, with what looks beside them for as long as they are up."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        looking = app.state.looking = asyncio.create_task(looks.run())
        looking.add_done_callback(_ended)
        try:
            yield
        finally:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)

    return Starlette(
        routes=[
            Route("/hub", service.take, methods=["POST"]),
            Route("/healthz", _health),
        ],
        lifespan=lifespan,
    )


def _health(request: Request) -> Response:
    """503 once nothing looks any more: a kubelet starts the program anew."""
    ended = request.app.state.looking.done()
    return PlainTextResponse("nothing looks any more" if ended else "ok", 503 if ended else 200)


def _ended(looking: asyncio.Task[None]) -> None:
    if not looking.cancelled() and (error := looking.exception()):
        log.error("nothing looks any more", exc_info=error)


async def _read(request: Request) -> bytes | None:
    """The body; None where it is too large."""
    body = bytearray()
    try:
        async for part in request.stream():
            body += part
            if len(body) > LARGEST_BODY:
                return None
    except ClientDisconnect:
        return b""
    return bytes(body)


def _refused(status: int, why: str) -> Response:
    return JSONResponse({"error": why}, status)
