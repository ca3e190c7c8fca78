"""The API server over HTTP: authentication, routing, errors as Status objects."""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
import random
import ssl
import time
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from slipway_sandbox.faults import Faults
from slipway_sandbox.kubernetes import discovery, errors, media, openapi, paths
from slipway_sandbox.kubernetes.admission import Admission
from slipway_sandbox.kubernetes.bodies import Write
from slipway_sandbox.kubernetes.deletion import Deleter
from slipway_sandbox.kubernetes.establishing import Establisher
from slipway_sandbox.kubernetes.objects import Objects
from slipway_sandbox.kubernetes.proxy import Proxy, StoredObjects
from slipway_sandbox.kubernetes.resources import Registry
from slipway_sandbox.kubernetes.rest import Rest
from slipway_sandbox.kubernetes.store import Store, encode
from slipway_sandbox.kubernetes.subresources import Subresources

BODY_LIMIT = 3 << 20  # bytes; kube-apiserver's own
_NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")
_PRIORITIES = {"system-cluster-critical": 2_000_000_000, "system-node-critical": 2_000_001_000}
_OPEN = frozenset(
    {"/healthz", "/livez", "/readyz", "/version"}
)  # readable without a token, as on a real cluster

log = logging.getLogger(__name__)
Authenticate = Callable[[str | None], Awaitable[str]]


class ApiServer:
    """One Kubernetes control plane's API, its objects in memory.

    `authenticate` turns a bearer token into a user name or raises errors.Unauthorized. `service_network` is the 127.N
    block of the cluster IPs ({service_network}.100.1 to .199.254), which clusters with other `service_share`s (0 to 9) share.
    Ports and addresses are loopback's.
    """

    def __init__(
        self,
        *,
        name: str,
        authenticate: Authenticate,
        faults: Faults,
        service_network: str = "127.1",
        service_share: int = 0,
        now: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC),
        chance: random.Random | None = None,
    ) -> None:
        self.name = name
        self._authenticate = authenticate
        self.store = Store()
        self.registry = Registry()
        admission = Admission(self.store, self.registry, service_network, service_share)
        self._chance = chance or random.SystemRandom()
        self.objects = Objects(self.store, self.registry, admission, now=now, chance=self._chance)
        self._deleter = Deleter(self.objects)
        self.store.after_write.append(Establisher(self.objects, self._deleter).after_write)
        self._proxy = Proxy(StoredObjects(self.objects))
        self._subresources = Subresources(self.objects, self._deleter, self._proxy)
        self._rest = Rest(self.objects, self._deleter, self._subresources, faults, time.monotonic)
        self._runner: web.AppRunner | None = None
        self._address = ""
        self._bootstrap()

    def _bootstrap(self) -> None:
        write = Write("kube-apiserver")
        for namespace in _NAMESPACES:
            self.objects.create(
                self.registry.core("namespaces"), None, {"metadata": {"name": namespace}}, write
            )
        classes = self.registry.of_key(("scheduling.k8s.io", "priorityclasses"))
        for name, value in _PRIORITIES.items():
            self.objects.create(classes, None, {"metadata": {"name": name}, "value": value}, write)

    async def start(self, host: str, port: int, ssl_context: ssl.SSLContext | None) -> int:
        """Listen; the port that was bound (`port` 0 chooses a free one). Raises OSError."""
        application = web.Application(client_max_size=BODY_LIMIT)
        application.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(
            application, access_log=None, shutdown_timeout=0.5, handler_cancellation=True
        )
        await self._runner.setup()
        await self._proxy.start()
        site = web.TCPSite(self._runner, host, port, ssl_context=ssl_context)
        await site.start()
        bound: int = self._runner.addresses[0][1]
        self._address = f"{host}:{bound}"
        return bound

    async def stop(self) -> None:
        """Close the listener and every open watch."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        await self._proxy.stop()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        try:
            return await self._route(request)
        except errors.NoSuchPath as missing:
            headers = {"X-Content-Type-Options": "nosniff"}
            return web.Response(text=f"{missing.message}\n", status=missing.code, headers=headers)
        except errors.ApiStatus as status:
            return media.json_response(status.body(), status.code, status.headers)
        except web.HTTPRequestEntityTooLarge:
            too_large = errors.ApiStatus(
                413, "RequestEntityTooLarge", f"Request entity too large: limit is {BODY_LIMIT}"
            )
            return media.json_response(too_large.body(), 413)
        except (asyncio.CancelledError, ConnectionResetError):
            raise
        except Exception as failure:
            log.exception("%s %s", request.method, request.path_qs)
            return media.json_response(errors.internal(repr(failure)).body(), 500)

    async def _route(self, request: web.Request) -> web.StreamResponse:
        path = request.path.rstrip("/")
        first = path.split("/")[1:2]
        if first and f"/{first[0]}" in _OPEN:
            return self._open(first[0])
        user = await self._user(request)
        parts = request.path.split("/")[1:]
        if not parts[-1]:
            parts.pop()
        depth = {"api": 2, "apis": 3}.get(parts[0])
        if depth is not None and len(parts) > depth:
            target = paths.parse(self.registry, _with_proxy_path(parts, request.path))
            return await self._rest.handle(request, target, user)
        if request.method not in ("GET", "HEAD"):
            raise errors.method_not_allowed()
        if parts in (["api"], ["apis"]) and discovery.wants_aggregated(request.headers.get("Accept", "")):
            document = discovery.aggregated(self.registry, core=parts == ["api"])
            headers = {"Content-Type": discovery.AGGREGATED, "Vary": "Accept"}
            return web.Response(body=encode(document), headers=headers)
        if parts == ["openapi", "v2"]:
            body, media_type = openapi.version_2(request.headers.get("Accept", ""))
            return web.Response(body=body, headers={"Content-Type": media_type})
        return media.json_response(self._document(parts))

    def _open(self, name: str) -> web.Response:
        if name == "version":
            return media.json_response(discovery.version())
        return web.Response(text="ok")

    async def _user(self, request: web.Request) -> str:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        return await self._authenticate(token.strip() if scheme.lower() == "bearer" and token else None)

    def _document(self, parts: list[str]) -> dict[str, Any]:
        """Discovery and OpenAPI. Raises ApiStatus 404."""
        match parts:
            case ["api"]:
                return discovery.core_versions(self._address)
            case ["api", version]:
                return discovery.resources(self.registry, "", version)
            case ["apis"]:
                return discovery.groups(self.registry)
            case ["apis", group]:
                return discovery.group(self.registry, group)
            case ["apis", group, version]:
                return discovery.resources(self.registry, group, version)
            case ["openapi", "v3"]:
                return openapi.index(self.registry)
            case ["openapi", "v3", "api", version]:
                return openapi.document(self.registry, "", version)
            case ["openapi", "v3", "apis", group, version]:
                return openapi.document(self.registry, group, version)
        raise errors.no_such_path()


def _with_proxy_path(parts: list[str], path: str) -> list[str]:
    """A proxied path keeps its trailing slash: it means something to the one behind."""
    return [*parts, ""] if "proxy" in parts and path.endswith("/") else parts
