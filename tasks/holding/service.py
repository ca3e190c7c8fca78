"""The service: takes requests that the gateway could not give to a pod, holds them, and passes them on."""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from tasks.holding import errors
from tasks.holding.answer import Answer, Header
from tasks.holding.decide import UNKNOWN_SECONDS
from tasks.holding.room import Full, Room
from tasks.holding.sleeper import LOOK_SECONDS, NothingToWake, Sleeper
from tasks.holding.waking import Waker
from tasks.records.hold import LARGEST_BODY, HolderSettings

log = logging.getLogger("holder")

MODEL_HEADER = "x-slipway-model"
# of one connection (RFC 9110, 7.6.1), or of the length of a body that is sent anew
OF_THE_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "host",
        "content-length",
        "accept-encoding",
        "expect",
        MODEL_HEADER,
    }
)
DISCARD_SECONDS = 30.0
# as the gateway's own: proxy_connect_timeout, proxy_read_timeout, proxy_send_timeout
TIMEOUT = httpx.Timeout(300.0, connect=10.0, pool=None)


class Service:
    """The ASGI application of every held route. `key`: what the gateway shows vLLM, and so the holder."""

    def __init__(
        self, settings: HolderSettings, key: str, sleepers: Mapping[str, Sleeper], upstream: httpx.AsyncClient
    ) -> None:
        self._settings, self._key, self._sleepers, self._upstream = settings, key, sleepers, upstream
        self.room = Room(settings.requests, settings.body_bytes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            if refusal := await self._take(request, send):
                await _discard(request)
                await Answer(send, streams=False, heartbeat=self._settings.heartbeat).refuse(refusal)
        except ClientDisconnect:
            log.info("%s: a client left", request.headers.get(MODEL_HEADER, ""))

    async def _take(self, request: Request, send: Send) -> errors.Refusal | None:
        """Hold a request; or why it is not taken, before its body is read."""
        name = request.headers.get(MODEL_HEADER, "")
        given = request.headers.get("authorization", "")
        sleeper = self._sleepers.get(name)
        if not hmac.compare_digest(given.encode(), f"Bearer {self._key}".encode()):
            return errors.invalid(401, "Requests come through the gateway.", "invalid_api_key")
        if sleeper is None:
            return errors.invalid(404, f"The model `{name}` does not exist.", "model_not_found")
        if refusal := _unfit(request, sleeper):
            return refusal
        size = int(request.headers.get("content-length") or LARGEST_BODY)
        try:
            with self.room.place(sleeper.name, size):
                await self._hold(request, sleeper, send)
        except Full as why:
            return errors.full(sleeper.name, str(why), sleeper.seconds_left, UNKNOWN_SECONDS)
        return None

    async def _hold(self, request: Request, sleeper: Sleeper, send: Send) -> None:
        """Read the body, then answer it; whichever comes first, the answer's end or the client's leave, ends it."""
        body = await _read(request)
        asked = _parsed(body)
        streams, refusal = bool(asked and asked.get("stream")), _wrong(asked, len(body), sleeper.names)
        del asked  # as large as the body, and a request may be held for minutes
        answer = Answer(send, streams=streams, heartbeat=self._settings.heartbeat)
        if refusal:
            await answer.refuse(refusal)
            return
        working = asyncio.create_task(self._answer(request, body, sleeper, answer))
        leaving = asyncio.create_task(_left(request))
        try:
            await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
            # an answer that has ended looks like a client that has left, too
            if not working.done() and not answer.ended:
                raise ClientDisconnect
            await working
        finally:
            for task in (working, leaving):
                task.cancel()
            await asyncio.gather(working, leaving, return_exceptions=True)

    async def _answer(self, request: Request, body: bytes, sleeper: Sleeper, answer: Answer) -> None:
        clock = asyncio.get_running_loop().time
        end = clock() + self._settings.longest
        again = False
        while True:
            try:
                async with asyncio.timeout_at(end):
                    address = await answer.meanwhile(sleeper.turn(again=again), lambda: _said(sleeper))
            except TimeoutError:
                late = errors.late(
                    sleeper.name, self._settings.longest, sleeper.seconds_left, UNKNOWN_SECONDS
                )
                await answer.refuse(late)
                return
            except NothingToWake:
                await answer.refuse(errors.gone(sleeper.name))
                return
            with sleeper.running():
                try:
                    await self._pass_on(request, body, address, sleeper, answer)
                except (httpx.ConnectError, httpx.ConnectTimeout):
                    # nothing was sent: the pod went between its readiness and this
                    log.info("%s: %s takes no connection", sleeper.name, address)
                else:
                    return
            await answer.meanwhile(asyncio.sleep(LOOK_SECONDS), lambda: _said(sleeper))
            again = True

    async def _pass_on(
        self, request: Request, body: bytes, address: str, sleeper: Sleeper, answer: Answer
    ) -> None:
        """Ask one pod and pass its answer on as it comes. Raises ConnectError and ConnectTimeout: nothing was sent then."""
        clock = asyncio.get_running_loop().time
        began = clock()
        query = f"?{request.url.query}" if request.url.query else ""
        headers = {name: value for name, value in request.headers.items() if name not in OF_THE_HOP}
        asked = self._upstream.build_request(
            request.method,
            f"http://{address}{request.url.path}{query}",
            content=body,
            headers=headers | {"accept-encoding": "identity"},
        )
        try:
            found = await answer.meanwhile(
                self._upstream.send(asked, stream=True), lambda: f"{sleeper.name} is answering"
            )
        except (httpx.ConnectError, httpx.ConnectTimeout):
            raise
        except httpx.TransportError as error:
            log.warning("%s: %s: %s", sleeper.name, address, repr(error))
            await answer.refuse(errors.cut(sleeper.name))
            return
        try:
            await self._relay(found, sleeper, answer, lambda: clock() - began)
        except httpx.TransportError as error:
            # the answer stays without its end: uvicorn closes the connection, and no client takes it for whole
            log.warning("%s: %s broke off: %s", sleeper.name, address, repr(error))
        finally:
            await found.aclose()

    async def _relay(
        self, found: httpx.Response, sleeper: Sleeper, answer: Answer, took: Callable[[], float]
    ) -> None:
        """Pass status, headers and body on. A body that breaks off breaks the client's off: no end is written to it."""
        parts = found.aiter_raw()
        if not answer.started:
            await answer.start(found.status_code, _passed(found))
        elif found.status_code != 200:
            # the status is sent already: the error is told in the body
            whole = await answer.meanwhile(_whole(found), lambda: "an error comes")
            await answer.refuse(errors.passed_on(sleeper.name, found.status_code, whole))
            return
        first = True
        while True:
            part = (
                await answer.meanwhile(_next(parts), lambda: f"{sleeper.name} is answering")
                if first and answer.streams and found.status_code == 200
                else await _next(parts)
            )
            if part is None:
                break
            await answer.write(part)
            if first and found.status_code == 200:
                sleeper.first_token(took() if answer.streams else None)
            first = False
        await answer.end()


async def _read(request: Request) -> bytes:
    """The body, in one piece; one that is longer than LARGEST_BODY is not read to its end."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > LARGEST_BODY:
            break
    return bytes(body)


async def _discard(request: Request) -> None:
    """Read a body and drop it: an answer before a body's end closes the connection, and NGINX, which is still sending, says 502.

    Ends early at LARGEST_BODY, or after DISCARD_SECONDS. Raises ClientDisconnect.
    """
    size = 0
    with suppress(TimeoutError):
        async with asyncio.timeout(DISCARD_SECONDS):
            async for part in request.stream():
                size += len(part)
                if size > LARGEST_BODY:
                    break


async def _next(parts: Any) -> bytes | None:
    """The next part of a body; None at its end."""
    part: bytes
    async for part in parts:
        return part
    return None


async def _whole(found: httpx.Response) -> bytes:
    return await found.aread()


async def _left(request: Request) -> None:
    """Return when the client has left."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _passed(found: httpx.Response) -> list[Header]:
    """Headers of vLLM's answer without those of its connection. A body whose length is known keeps it."""
    return [
        (name.lower(), value)
        for name, value in found.headers.raw
        if name.lower().decode("latin-1") not in OF_THE_HOP - {"content-length"}
    ]


def _said(sleeper: Sleeper) -> str:
    seconds = sleeper.seconds_left
    return f"{sleeper.name} is starting" + (f": about {seconds} s" if seconds else "")


def _unfit(request: Request, sleeper: Sleeper) -> errors.Refusal | None:
    """Why a request is not held, as far as method and headers say."""
    if request.method != "POST":
        return errors.Refusal(
            503,
            f"The model `{sleeper.name}` is not ready. A POST wakes it.",
            "server_error",
            "model_not_ready",
            sleeper.seconds_left or UNKNOWN_SECONDS,
        )
    length = request.headers.get("content-length")
    if length and int(length) > LARGEST_BODY:
        return errors.invalid(413, f"The body may have {LARGEST_BODY:,} bytes.")
    return None


def _parsed(body: bytes) -> dict[str, Any] | None:
    try:
        asked = json.loads(body)
    except ValueError:
        return None
    return asked if isinstance(asked, dict) else None


def _wrong(asked: dict[str, Any] | None, size: int, names: frozenset[str]) -> errors.Refusal | None:
    """What is wrong with a body. A model that its path does not name is none of its key's business: vLLM says the same."""
    if size > LARGEST_BODY:
        return errors.invalid(413, f"The body may have {LARGEST_BODY:,} bytes.")
    if asked is None:
        return errors.invalid(400, "The body of the request is not a JSON object.")
    name = asked.get("model")
    if not isinstance(name, str):
        return errors.invalid(400, "The body of the request names no model.")
    if name not in names:
        return errors.invalid(404, f"The model `{name}` does not exist.", "model_not_found")
    return None


async def _healthy(_: Request) -> PlainTextResponse:
    return PlainTextResponse("ok\n")


def application(settings: HolderSettings, key: str, waker: Waker) -> Starlette:
    """The whole application."""
    upstream = httpx.AsyncClient(
        timeout=TIMEOUT,
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=0),
        trust_env=False,
    )
    sleepers = {name: Sleeper(name, told, settings.ramp, waker) for name, told in settings.models.items()}
    service = Service(settings, key, sleepers, upstream)
    return Starlette(routes=[Route("/healthz", _healthy), Route("/v1/{path:path}", service)])
