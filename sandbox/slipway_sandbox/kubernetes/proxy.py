"""Forwarding: container logs from the node's kubelet, and HTTP to services."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import aiohttp
from aiohttp import web

from slipway_sandbox.kubernetes import errors
from slipway_sandbox.kubernetes.objects import Objects
from slipway_sandbox.kubernetes.store import Object

CONNECT_SECONDS = 10.0
_LOG_OPTIONS = ("tailLines", "previous", "follow", "timestamps", "limitBytes", "sinceSeconds", "sinceTime")
# Meant for one connection, not for the message (RFC 9110, 7.6.1); the caller's credentials are the server's alone.
NOT_FORWARDED = frozenset(
    [
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "host",
        "authorization",
    ]
)


class Reader(Protocol):
    """Where the objects are read that say where to connect to."""

    async def read(self, plural: str, namespace: str | None, name: str) -> Object:
        """One pod, service or node. Raises ApiStatus."""

    async def slices(self, namespace: str, service: str) -> list[Object]:
        """The EndpointSlices of one service."""


class StoredObjects:
    """The embedded server's own."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    async def read(self, plural: str, namespace: str | None, name: str) -> Object:
        return self._objects.get(self._objects.registry.core(plural), namespace, name).object

    async def slices(self, namespace: str, service: str) -> list[Object]:
        return [
            stored.object
            for stored in self._objects.store.all(("discovery.k8s.io", "endpointslices"))
            if stored.metadata["namespace"] == namespace
            and (stored.metadata.get("labels") or {}).get("kubernetes.io/service-name") == service
        ]


class Proxy:
    """`start` and `stop` open and close the pool of outgoing connections."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS)
        self._session = aiohttp.ClientSession(
            timeout=timeout, auto_decompress=False, connector=aiohttp.TCPConnector(limit=0)
        )

    async def stop(self) -> None:
        if self._session is not None:
            await self._session.close()

    # ------------------------------------------------------------------------------------------ logs

    async def log(self, request: web.Request, namespace: str | None, name: str) -> web.StreamResponse:
        """`GET pods/NAME/log`. Raises ApiStatus 400 (which container?), 404, 500 where the kubelet is silent."""
        pod = await self._reader.read("pods", namespace, name)
        container = _container(pod, request.query.get("container"))
        node_name = pod["spec"].get("nodeName")
        if not node_name:
            return web.Response(status=204)
        root = await self._kubelet(node_name)
        metadata = pod["metadata"]
        url = f"{root}/containerLogs/{metadata['namespace']}/{metadata['name']}/{container}"
        options = {key: request.query[key] for key in _LOG_OPTIONS if key in request.query}
        return await self._forward(request, "GET", url, options, kubelet=True)

    async def _kubelet(self, node_name: str) -> str:
        status = (await self._reader.read("nodes", None, node_name)).get("status", {})
        port = ((status.get("daemonEndpoints") or {}).get("kubeletEndpoint") or {}).get("Port")
        address = next(
            (a["address"] for a in status.get("addresses") or [] if a["type"] == "InternalIP"), None
        )
        if not address or not port:
            raise errors.internal(
                f"no preferred addresses found; known addresses: {status.get('addresses') or []}"
            )
        return f"http://{address}:{port}"

    # ------------------------------------------------------------------------------------------ proxies

    async def forward(
        self, request: web.Request, namespace: str | None, target: str, rest: str
    ) -> web.StreamResponse:
        """`…/proxy/REST` of a service, `target` as name or name:port. Raises ApiStatus 404 or 503."""
        name, _, port = target.partition(":")
        service = await self._reader.read("services", str(namespace), name)
        ports = service["spec"].get("ports") or []
        found = [p for p in ports if port in ("", p.get("name"), str(p["port"]))]
        if not found:
            raise errors.unavailable(f'no service port "{port}" found for service "{name}"')
        slices = await self._reader.slices(str(namespace), name)
        for address, number in _endpoints(slices, found[0].get("name", "")):
            root = f"http://{address}:{number}"
            return await self._forward(request, request.method, f"{root}/{rest}", dict(request.query))
        raise errors.unavailable(f'no endpoints available for service "{name}"')

    # ------------------------------------------------------------------------------------------ the wire

    async def _forward(
        self, request: web.Request, method: str, url: str, query: dict[str, str], *, kubelet: bool = False
    ) -> web.StreamResponse:
        """Send the request on and stream the answer back. Raises ApiStatus where nobody answers."""
        assert self._session is not None, "the proxy was not started"
        headers = {k: v for k, v in request.headers.items() if k.lower() not in NOT_FORWARDED}
        body = request.content if request.can_read_body else None
        try:
            upstream = await self._session.request(
                method, url, params=query, headers=headers, data=body, allow_redirects=False
            )
        except (aiohttp.ClientError, TimeoutError) as failure:
            if kubelet:
                raise errors.internal(f'Get "{url}": {failure}') from None
            raise errors.unavailable(f"error trying to reach service: {failure}") from None
        try:
            if kubelet and upstream.status >= 400:
                raise _kubelet_refusal(upstream.status, await upstream.text())
            return await self._stream(request, upstream)
        finally:
            upstream.close()

    async def _stream(self, request: web.Request, upstream: aiohttp.ClientResponse) -> web.StreamResponse:
        headers = {k: v for k, v in upstream.headers.items() if k.lower() not in NOT_FORWARDED}
        response = web.StreamResponse(status=upstream.status, headers=headers)
        await response.prepare(request)
        try:
            async for chunk in upstream.content.iter_any():
                await response.write(chunk)
            await response.write_eof()
        except (ConnectionResetError, aiohttp.ClientConnectionError, aiohttp.ClientPayloadError):
            # One side hung up in the middle: cut the other off too, so that it cannot take this for the end.
            if request.transport is not None:
                request.transport.abort()
        return response


def _endpoints(slices: Iterable[Object], port: str) -> list[tuple[str, int]]:
    """Ready addresses behind one port of a service."""
    found = []
    for one in slices:
        numbers = [p["port"] for p in one.get("ports") or [] if (p.get("name") or "") == port]
        for endpoint in one.get("endpoints") or []:
            if (endpoint.get("conditions") or {}).get("ready", True):
                found += [(address, number) for address in endpoint["addresses"] for number in numbers]
    return sorted(found)


def _container(pod: Object, wanted: str | None) -> str:
    spec, name = pod["spec"], pod["metadata"]["name"]
    names = [c["name"] for c in (*spec["containers"], *(spec.get("initContainers") or []))]
    if not wanted and len(spec["containers"]) == 1:
        return str(names[0])
    if not wanted:
        raise errors.bad_request(f"a container name must be specified for pod {name}, choose one of: {names}")
    if wanted not in names:
        raise errors.bad_request(f"container {wanted} is not valid for pod {name}")
    return wanted


def _kubelet_refusal(code: int, text: str) -> errors.ApiStatus:
    reason = {400: "BadRequest", 404: "NotFound"}.get(code)
    if reason:
        return errors.ApiStatus(code, reason, text.strip())
    return errors.internal(f"the node's kubelet answered {code}: {text.strip()}")
