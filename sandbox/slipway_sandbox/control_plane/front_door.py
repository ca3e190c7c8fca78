"""The sandbox's front door before a control plane of somebody else's.

The same TLS and the same tokens as before the embedded one; what comes through is asked in the name of the kubeconfig's
user. What an API server fetches from nodes (logs, proxies) the door fetches itself: the nodes are on this machine's
loopback, where that control plane cannot reach.
"""

from __future__ import annotations

import json
import logging
import re
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import yarl
from aiohttp import web

from slipway_sandbox.control_plane.credentials import Credentials
from slipway_sandbox.control_plane.translation import HomeStream, Translation
from slipway_sandbox.kubernetes import errors
from slipway_sandbox.kubernetes.proxy import NOT_FORWARDED, Proxy
from slipway_sandbox.kubernetes.server import BODY_LIMIT

Object = dict[str, Any]
CONNECT_SECONDS = 10.0
OPEN = ("/healthz", "/livez", "/readyz", "/version")  # readable without a token, as on a real cluster
LOG = re.compile(r"^/api/v1/namespaces/([^/]+)/pods/([^/]+)/log$")
PROXY = re.compile(r"^/api/v1/namespaces/([^/]+)/services/([^/]+)/proxy(?:/(.*))?$")

log = logging.getLogger(__name__)


class FrontDoor:
    """`authenticate` turns a bearer token into a user or raises errors.Unauthorized; `network` is the 127.N block."""

    def __init__(
        self,
        *,
        authenticate: Callable[[str | None], Awaitable[str]],
        credentials: Credentials,
        network: str,
    ) -> None:
        self._authenticate, self._credentials = authenticate, credentials
        self._translation = Translation(network)
        self._proxy = Proxy(self)
        self._session: aiohttp.ClientSession | None = None
        self._runner: web.AppRunner | None = None

    async def start(self, host: str, port: int, ssl_context: ssl.SSLContext | None) -> int:
        """Listen; the port that was bound (`port` 0 chooses a free one). Raises OSError."""
        self._session = aiohttp.ClientSession(
            headers=self._credentials.headers(),
            auto_decompress=False,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
            connector=aiohttp.TCPConnector(limit=0, ssl=self._credentials.trust()),
        )
        await self._proxy.start()
        application = web.Application(client_max_size=BODY_LIMIT)
        application.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(
            application, access_log=None, shutdown_timeout=0.5, handler_cancellation=True
        )
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port, ssl_context=ssl_context)
        await site.start()
        bound: int = self._runner.addresses[0][1]
        return bound

    async def stop(self) -> None:
        """Close the listener and every open watch."""
        if self._runner is not None:
            await self._runner.cleanup()
        await self._proxy.stop()
        if self._session is not None:
            await self._session.close()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        try:
            if request.path not in OPEN:
                await self._authenticate(_bearer(request))
            if found := LOG.match(request.path):
                return await self._proxy.log(request, found[1], found[2])
            if found := PROXY.match(request.path):
                return await self._proxy.forward(request, found[1], found[2], found[3] or "")
            return await self._pass_on(request)
        except errors.ApiStatus as status:
            return web.json_response(status.body(), status=status.code, headers=status.headers)
        except web.HTTPRequestEntityTooLarge:
            too_large = errors.ApiStatus(
                413, "RequestEntityTooLarge", f"Request entity too large: limit is {BODY_LIMIT}"
            )
            return web.json_response(too_large.body(), status=413)

    async def _pass_on(self, request: web.Request) -> web.StreamResponse:
        """The same request in the name of the file's user, its answer as it comes. Raises ApiStatus 503."""
        assert self._session is not None, "the door was not started"
        body = await request.read() if request.can_read_body else b""
        if "protobuf" not in request.headers.get("Content-Type", ""):
            body = self._translation.to_abroad(body)
        url = yarl.URL(self._credentials.server + request.raw_path, encoded=True)
        try:
            answer = await self._session.request(
                request.method, url, headers=_asked(request), data=body or None, allow_redirects=False
            )
        except (aiohttp.ClientError, TimeoutError) as failure:
            raise errors.unavailable(f"the control plane does not answer: {failure}") from None
        try:
            return await self._stream(request, answer)
        finally:
            answer.close()

    async def _stream(self, request: web.Request, answer: aiohttp.ClientResponse) -> web.StreamResponse:
        dropped = NOT_FORWARDED | {"content-length"}
        headers = [(k, v) for k, v in answer.headers.items() if k.lower() not in dropped]
        response = web.StreamResponse(status=answer.status)
        for name, value in headers:
            response.headers.add(name, value)
        await response.prepare(request)
        stream = HomeStream(self._translation)
        try:
            async for chunk in answer.content.iter_any():
                if piece := stream.feed(chunk):
                    await response.write(piece)
            if rest := stream.end():
                await response.write(rest)
            await response.write_eof()
        except (ConnectionResetError, aiohttp.ClientConnectionError, aiohttp.ClientPayloadError):
            # One side hung up in the middle: cut the other off too, so that it cannot take this for the end.
            if request.transport is not None:
                request.transport.abort()
        return response

    # ------------------------------------------------------------------------- what the proxy asks to find a pod

    async def read(self, plural: str, namespace: str | None, name: str) -> Object:
        """One object of the core group, its addresses ours. Raises ApiStatus."""
        scope = f"/namespaces/{namespace}" if namespace else ""
        return await self._fetch(f"/api/v1{scope}/{plural}/{name}")

    async def slices(self, namespace: str, service: str) -> list[Object]:
        """The EndpointSlices of one service."""
        selector = f"?labelSelector=kubernetes.io%2Fservice-name%3D{service}"
        found = await self._fetch(
            f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices{selector}"
        )
        return list(found["items"])

    async def _fetch(self, path: str) -> Object:
        assert self._session is not None, "the door was not started"
        url = yarl.URL(self._credentials.server + path, encoded=True)
        try:
            async with self._session.get(url, timeout=aiohttp.ClientTimeout(total=30)) as answer:
                document: Object = json.loads(self._translation.to_home(await answer.read()))
        except (aiohttp.ClientError, TimeoutError, ValueError) as failure:
            raise errors.unavailable(f"the control plane does not answer: {failure}") from None
        if document.get("kind") == "Status":
            raise errors.ApiStatus(
                int(document.get("code", 500)), document.get("reason", ""), document.get("message", "")
            )
        return document


def _bearer(request: web.Request) -> str | None:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token else None


def _asked(request: web.Request) -> dict[str, str]:
    """The headers that go on. Answers must be JSON as it is: addresses in protobuf or gzip could not be put right."""
    headers = {
        k: v
        for k, v in request.headers.items()
        if k.lower() not in NOT_FORWARDED and k.lower() not in ("content-length", "accept-encoding")
    }
    headers["Accept-Encoding"] = "identity"
    kinds = [kind for kind in headers.get("Accept", "*/*").split(",") if "protobuf" not in kind]
    headers["Accept"] = ",".join(kinds) or "application/json"
    return headers
