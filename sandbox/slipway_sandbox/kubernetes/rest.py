"""The verbs on resources: from a request's target and body to an answer's bytes."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable, Mapping
from typing import Any

from aiohttp import web

from slipway_sandbox.faults import Faults
from slipway_sandbox.kubernetes import errors, media, patches, scale, watching
from slipway_sandbox.kubernetes.bodies import Write
from slipway_sandbox.kubernetes.deletion import RETURNED, DeleteOptions, Deleter
from slipway_sandbox.kubernetes.durations import age_of
from slipway_sandbox.kubernetes.errors import Cause
from slipway_sandbox.kubernetes.listing import Selection, check_version, list_page
from slipway_sandbox.kubernetes.objects import Objects
from slipway_sandbox.kubernetes.paths import Target
from slipway_sandbox.kubernetes.presentation import Presenter
from slipway_sandbox.kubernetes.resources import Resource
from slipway_sandbox.kubernetes.store import Object, encode
from slipway_sandbox.kubernetes.subresources import Subresources

JSON = "application/json"
_WRITABLE = ("", "status", "scale", "finalize")


class Rest:
    """One instance a server. `stopping` ends watches; `clock` counts seconds for them."""

    def __init__(
        self,
        objects: Objects,
        deleter: Deleter,
        subresources: Subresources,
        faults: Faults,
        clock: Callable[[], float],
    ) -> None:
        self._objects, self._deleter, self._subresources = objects, deleter, subresources
        self._faults, self._clock = faults, clock

    async def handle(self, request: web.Request, target: Target, user: str) -> web.StreamResponse:
        """Raises ApiStatus for every refusal."""
        resource = target.resource
        if fault := self._faults.hit("api-500", f"{request.method} {resource.plural}"):
            raise errors.internal(f"fault {fault.name}: {request.method} {resource.plural}")
        if fault := self._faults.hit("api-slow", f"{request.method} {resource.plural}"):
            await asyncio.sleep(fault.value or 0.0)
        if target.subresource not in _WRITABLE or not resource.stored:
            return await self._subresources.connect(request, target, write_of(request, user))
        if request.method in ("GET", "HEAD"):
            return await self._get(request, target)
        raw = await request.read()
        write = write_of(request, user)
        conflicted = request.method in ("PUT", "PATCH") and self._faults.hit(
            "api-conflict", f"{resource.plural}/{target.name}"
        )
        if conflicted:
            raise errors.modified(resource, str(target.name))
        status, body = self._write(request, target, raw, write)
        return web.Response(body=body, status=status, content_type=JSON)

    def _write(self, request: web.Request, target: Target, raw: bytes, write: Write) -> tuple[int, bytes]:
        """Every change happens in here without a pause, so that nothing comes between its read and its write."""
        content_type = request.headers.get("Content-Type", "")
        method = request.method
        if method == "POST" and target.name is None:
            return self._create(request, target, media.decode_body(raw, content_type), write)
        if method == "PUT" and target.name is not None:
            return self._replace(request, target, media.decode_body(raw, content_type), write)
        if method == "PATCH" and target.name is not None:
            kind, patch = media.decode_patch(raw, content_type)
            return self._patch(request, target, kind, patch, write)
        if method == "DELETE" and target.name is not None and not target.subresource:
            body = media.decode_body(raw, content_type) if raw.strip() else None
            return self._delete(request, target, DeleteOptions.parse(body, request.query), write)
        raise errors.method_not_allowed()

    # ------------------------------------------------------------------------------------------ reading

    async def _get(self, request: web.Request, target: Target) -> web.StreamResponse:
        resource, query = target.resource, request.query
        presenter = presenter_of(request, resource)
        if query.get("watch", "").lower() in ("true", "1"):
            return await self._watch(request, target, presenter)
        if target.name is None:
            selection = Selection.parse(resource, target.namespace, None, query)
            page = list_page(self._objects.store, resource, selection, query)
            return web.Response(body=presenter.list(page), content_type=JSON)
        if target.subresource == "finalize":
            raise errors.method_not_allowed()
        check_version(query.get("resourceVersion", ""), self._objects.store.revision)
        stored = self._objects.get(resource, target.namespace, target.name)
        if target.subresource == "scale":
            return media.json_response(scale.to_scale(stored.object))
        return web.Response(body=presenter.one(stored), content_type=JSON)

    async def _watch(self, request: web.Request, target: Target, presenter: Presenter) -> web.StreamResponse:
        selection = Selection.parse(target.resource, target.namespace, target.name, request.query)
        store = self._objects.store
        check_version(request.query.get("resourceVersion", ""), store.revision)
        watching.seconds_of(request.query)  # refused before the answer begins
        response = web.StreamResponse(headers={"Content-Type": JSON, "Cache-Control": "no-cache, private"})
        response.enable_chunked_encoding()
        await response.prepare(request)
        stream = watching.watch(store, target.resource, selection, request.query, presenter.one, self._clock)
        try:
            async for block in stream:
                await response.write(block)
            await response.write_eof()
        except ConnectionResetError:
            return response  # the client hung up: the normal end of a watch
        finally:
            await stream.aclose()
        return response

    # ------------------------------------------------------------------------------------------ writing

    def _create(self, request: web.Request, target: Target, body: Any, write: Write) -> tuple[int, bytes]:
        if target.resource.namespaced and target.namespace is None:
            raise errors.method_not_allowed()
        stored = self._objects.create(target.resource, target.namespace, body, write)
        return 201, presenter_of(request, target.resource).one(stored)

    def _replace(self, request: web.Request, target: Target, body: Any, write: Write) -> tuple[int, bytes]:
        resource, name = target.resource, str(target.name)
        if target.subresource == "scale":
            live = self._objects.get(resource, target.namespace, name).object
            changed = scale.from_scale(resource, live, body)
            stored = self._objects.update(
                resource, target.namespace, name, changed, write, subresource="scale"
            )
            return 200, encode(scale.to_scale(stored.object))
        _check_name(body, name)
        stored = self._objects.update(
            resource, target.namespace, name, body, write, subresource=target.subresource
        )
        return 200, presenter_of(request, target.resource).one(stored)

    def _patch(
        self, request: web.Request, target: Target, kind: str, patch: Any, write: Write
    ) -> tuple[int, bytes]:
        resource, name = target.resource, str(target.name)
        if target.subresource == "finalize":
            raise errors.method_not_allowed()
        if kind == patches.APPLY:
            return self._apply(request, target, patch, write)
        live = self._objects.get(resource, target.namespace, name)
        if target.subresource == "scale":
            before = scale.to_scale(live.object)
            after = patched(None, before, kind, patch)
            return self._replace(request, target, after, write)
        stored = self._objects.update(
            resource,
            target.namespace,
            name,
            patched(resource, live.object, kind, patch),
            write,
            subresource=target.subresource,
        )
        return 200, presenter_of(request, target.resource).one(stored)

    def _apply(self, request: web.Request, target: Target, intent: Any, write: Write) -> tuple[int, bytes]:
        if not request.query.get("fieldManager"):
            cause = Cause("fieldManager", "Required value: is required for apply patch", "FieldValueRequired")
            raise errors.invalid_options("PatchOptions", cause)
        if target.subresource == "scale":
            raise errors.method_not_allowed()
        if not isinstance(intent, dict):
            raise errors.bad_request("error decoding YAML: the object provided is no map")
        resource, name = target.resource, str(target.name)
        stored, created = self._objects.apply(
            resource, target.namespace, name, intent, write, target.subresource
        )
        return 201 if created else 200, presenter_of(request, target.resource).one(stored)

    def _delete(
        self, request: web.Request, target: Target, options: DeleteOptions, write: Write
    ) -> tuple[int, bytes]:
        resource, name = target.resource, str(target.name)
        stored, gone = self._deleter.delete(resource, target.namespace, name, options, write)
        if not gone or resource.qualified in RETURNED:
            return 200, presenter_of(request, resource).one(stored)
        details = {"name": name, "kind": resource.plural, "uid": stored.metadata["uid"]}
        if resource.group:
            details["group"] = resource.group
        status = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Success",
            "details": details,
        }
        return 200, encode(status)


def _check_name(body: Any, name: str) -> None:
    """Before anything is looked up. Raises ApiStatus 400 for a body that names another object."""
    given = (body.get("metadata") or {}).get("name") if isinstance(body, dict) else None
    if isinstance(given, str) and given and given != name:
        raise errors.bad_request(
            f"the name of the object ({given}) does not match the name on the URL ({name})"
        )


def patched(resource: Resource | None, before: Object, kind: str, patch: Any) -> Any:
    """An object after a patch; `resource` is None for a Scale. Raises ApiStatus 400, 415 or 422."""
    if not isinstance(patch, dict):
        raise errors.bad_request(
            "error decoding patch: json: cannot unmarshal array into Go value of type map[string]interface {}"
        )
    if kind == patches.MERGE:
        return patches.merge(before, patch)
    if resource is not None and resource.custom:
        raise errors.unsupported_media_type((patches.MERGE, patches.APPLY))
    return patches.strategic(before, patch, resource.schema if resource else None)


def presenter_of(request: web.Request, resource: Resource) -> Presenter:
    form = media.wanted_form(request.headers.get("Accept", ""))
    now = dt.datetime.now(dt.UTC)
    return Presenter(resource, form, request.query.get("includeObject", ""), lambda then: age_of(then, now))


def write_of(request: web.Request, user: str) -> Write:
    """Raises ApiStatus 400 for a kind of dry run there is not."""
    query: Mapping[str, str] = request.query
    if query.get("dryRun", "") not in ("", "All"):
        raise errors.bad_request(f"dryRun is All or left out, not {query['dryRun']}")
    agent = request.headers.get("User-Agent", "unknown").partition("/")[0]
    return Write(
        manager=query.get("fieldManager") or agent,
        user=user,
        dry_run=query.get("dryRun") == "All",
        strict=query.get("fieldValidation") == "Strict",
        force=query.get("force", "").lower() == "true",
    )
