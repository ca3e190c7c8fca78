"""Subresources: logs, the service proxy, binding, eviction; and access reviews, which are answered but never stored."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from slipway_sandbox.kubernetes import errors, media, reviews
from slipway_sandbox.kubernetes.binding import bind
from slipway_sandbox.kubernetes.bodies import Write
from slipway_sandbox.kubernetes.deletion import DeleteOptions, Deleter
from slipway_sandbox.kubernetes.eviction import evict
from slipway_sandbox.kubernetes.objects import Objects
from slipway_sandbox.kubernetes.paths import Target
from slipway_sandbox.kubernetes.proxy import Proxy
from slipway_sandbox.kubernetes.store import Object

Posted = Callable[[Target, Any, Write], Awaitable[Object]]


class Subresources:
    """`proxy` forwards to kubelets and services."""

    def __init__(self, objects: Objects, deleter: Deleter, proxy: Proxy) -> None:
        self._objects, self._deleter, self._proxy = objects, deleter, proxy
        self._posted: dict[str, Posted] = {
            "binding": self._bind,
            "eviction": self._evict,
        }

    async def connect(self, request: web.Request, target: Target, write: Write) -> web.StreamResponse:
        """Raises ApiStatus for every refusal."""
        if target.subresource == "log":
            if request.method != "GET":
                raise errors.method_not_allowed()
            return await self._proxy.log(request, target.namespace, str(target.name))
        if target.subresource == "proxy":
            return await self._proxy.forward(request, target.namespace, str(target.name), target.rest)
        if request.method != "POST":
            raise errors.method_not_allowed()
        body = media.decode_body(await request.read(), request.headers.get("Content-Type", ""))
        if not isinstance(body, dict):
            raise errors.bad_request("the object provided is unrecognized (must be of type object)")
        if target.subresource:
            answer = await self._posted[target.subresource](target, body, write)
        else:
            answer = reviews.answer(target.resource, body, self._objects.now())
        return media.json_response(answer, 201)

    async def _bind(self, target: Target, body: Any, write: Write) -> Object:
        _same_name(target, body, "Binding", "v1")
        return bind(self._objects, str(target.namespace), str(target.name), body, write)

    async def _evict(self, target: Target, body: Any, write: Write) -> Object:
        _same_name(target, body, "Eviction", "policy/v1")
        options = DeleteOptions.parse(body.get("deleteOptions"), {})
        return evict(self._objects, self._deleter, str(target.namespace), str(target.name), options, write)


def _same_name(target: Target, body: Object, kind: str, version: str) -> None:
    """Raises ApiStatus 400 for another kind, or another pod than the path names."""
    given = (body.get("apiVersion") or version, body.get("kind") or kind)
    if given != (version, kind):
        where = 'in scheme "k8s.io/kubernetes/pkg/api/legacyscheme/scheme.go:30"'
        why = f'no kind "{given[1]}" is registered for version "{given[0]}" {where}'
        what = f'{given[1]} in version "{given[0].rpartition("/")[2]}" cannot be handled as a {kind}'
        raise errors.bad_request(f"{what}: {why}")
    if ((body.get("metadata") or {}).get("name") or target.name) != target.name:
        raise errors.bad_request(f"name in URL does not match name in {kind} object")
