"""Garbage collection by ownerReferences, over every collection the API serves (pkg/controller/garbagecollector)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass

import aiohttp

from slipway_sandbox.apiclient import ApiError
from slipway_sandbox.controllers.controller import World
from slipway_sandbox.controllers.discovery import discover
from slipway_sandbox.controllers.objects import (
    DEFINITIONS,
    Object,
    Resource,
    is_deleting,
    key_of,
    owners_of,
    uid_of,
)
from slipway_sandbox.controllers.store import Listener, Store
from slipway_sandbox.controllers.workqueue import WorkQueue
from slipway_sandbox.controllers.writes import Delete, Patch, Write

log = logging.getLogger(__name__)

FOREGROUND = "foregroundDeletion"
ORPHAN = "orphan"
_VERBS = frozenset({"list", "watch", "delete"})
_REDISCOVER_SECONDS = 30.0  # as upstream: served kinds also change in ways no definition tells

Item = tuple[Resource, str, str]
"""(collection, namespace, name)"""
Child = tuple[Resource, Object]


@dataclass(frozen=True)
class Owners:
    """An object's owner references, sorted: `solid` live, `waiting` are being deleted in the foreground."""

    solid: tuple[Object, ...] = ()
    waiting: tuple[Object, ...] = ()
    dangling: tuple[Object, ...] = ()


def decide_dependent(resource: Resource, item: Object, owners: Owners, has_dependents: bool) -> list[Write]:
    """attemptToDeleteItem: an object goes when no owner is left; while one is, dead references are cut off."""
    if is_deleting(item) or not (owners.dangling or owners.waiting):
        return []
    if owners.solid:
        dead = {reference["uid"] for reference in (*owners.dangling, *owners.waiting)}
        return [_keep_owners(resource, item, [r for r in owners_of(item) if r["uid"] not in dead])]
    policy = "Foreground" if owners.waiting and has_dependents else "Background"
    finalizers = item["metadata"].get("finalizers") or []
    if policy == "Background" and ORPHAN in finalizers:
        policy = "Orphan"
    elif policy == "Background" and FOREGROUND in finalizers:
        policy = "Foreground"
    return [Delete(resource, item, {"propagationPolicy": policy})]


def decide_deleting_owner(resource: Resource, item: Object, dependents: Sequence[Child]) -> list[Write]:
    """What an object that is being deleted with a policy's finalizer waits for, or the end of its wait."""
    finalizers = item["metadata"].get("finalizers") or []
    uid = uid_of(item)
    if ORPHAN in finalizers:
        writes: list[Write] = [
            _keep_owners(kind, child, [r for r in owners_of(child) if r["uid"] != uid])
            for kind, child in dependents
        ]
        return [*writes, _without_finalizer(resource, item, ORPHAN)]
    if FOREGROUND not in finalizers:
        return []
    blocking = [
        (kind, child)
        for kind, child in dependents
        if any(r["uid"] == uid and r.get("blockOwnerDeletion") for r in owners_of(child))
    ]
    if not blocking:
        return [_without_finalizer(resource, item, FOREGROUND)]
    return []


def _keep_owners(resource: Resource, item: Object, references: list[Object]) -> Patch:
    return Patch(resource, item, {"metadata": {"uid": uid_of(item), "ownerReferences": references}})


def _without_finalizer(resource: Resource, item: Object, finalizer: str) -> Patch:
    left = [name for name in item["metadata"].get("finalizers") or [] if name != finalizer]
    metadata = {
        "uid": uid_of(item),
        "finalizers": left,
        "resourceVersion": item["metadata"]["resourceVersion"],
    }
    return Patch(resource, item, {"metadata": metadata})


class GarbageCollector:
    """Watches everything; follows the definitions, so that custom resources are collected too."""

    component = "garbage-collector-controller"

    def __init__(self, world: World) -> None:
        self._world = world
        self._queue: WorkQueue[Item] = WorkQueue()
        self._watched: dict[Resource, Store] = {}
        self._own: set[Resource] = set()
        self._rediscover = asyncio.Event()

    async def run(self) -> None:
        """Never returns; end it by cancelling."""
        definitions = self._world.store(DEFINITIONS)
        await definitions.synced.wait()
        definitions.listen(lambda before, after: self._rediscover.set())
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._follow_discovery(), name="garbage discovery")
                for number in range(4):
                    group.create_task(self._work(), name=f"garbage {number}")
        finally:
            self._queue.close()

    async def _follow_discovery(self) -> None:
        while True:
            self._rediscover.clear()
            try:
                self._watch(await discover(self._world.client, _VERBS))
            except (ApiError, aiohttp.ClientError, TimeoutError) as error:
                log.warning("%s: discovery: %s", self.component, error)
                await asyncio.sleep(1.0)
                continue
            try:
                async with asyncio.timeout(_REDISCOVER_SECONDS):
                    await self._rediscover.wait()
                await asyncio.sleep(0.1)  # a definition is served a moment after it is written
            except TimeoutError:
                continue

    def _watch(self, served: Sequence[Resource]) -> None:
        for resource in served:
            if resource not in self._watched:
                if not self._world.has_store(resource):
                    self._own.add(resource)
                store = self._watched[resource] = self._world.store(resource)
                store.listen(self._listener(resource))
        for resource in set(self._watched) - set(served):
            del self._watched[resource]
            if resource in self._own:  # what another controller reads is not ours to stop
                self._own.discard(resource)
                self._world.stop_store(resource)

    def _listener(self, resource: Resource) -> Listener:
        def changed(before: Object | None, after: Object | None) -> None:
            item = after or before
            assert item is not None
            if after is None:
                # Its dependents lost an owner; an owner waiting in the foreground lost a dependent.
                for kind, child in self._dependents(uid_of(item)):
                    self._queue.add((kind, *key_of(child)))
                self._queue_owners(item)
            elif owners_of(item) or is_deleting(item):
                self._queue.add((resource, *key_of(item)))
                if is_deleting(item):
                    for kind, child in self._dependents(uid_of(item)):
                        self._queue.add((kind, *key_of(child)))

        return changed

    def _queue_owners(self, item: Object) -> None:
        for reference in owners_of(item):
            found = self._known(reference, item["metadata"].get("namespace", ""))
            if found is not None and is_deleting(found[1]):
                self._queue.add((found[0], *key_of(found[1])))

    def _dependents(self, uid: str) -> list[Child]:
        return [(kind, item) for kind, store in self._watched.items() for item in store.owned_by(uid)]

    def _resource_of(self, reference: Object) -> Resource | None:
        """The collection of a reference: same group and kind, whichever version it names."""
        group = reference["apiVersion"].rpartition("/")[0]
        for resource in self._watched:
            if resource.kind == reference["kind"] and resource.api.rpartition("/")[0] == group:
                return resource
        return None

    def _known(self, reference: Object, namespace: str) -> Child | None:
        resource = self._resource_of(reference)
        if resource is None:
            return None
        item = self._watched[resource].get(namespace if resource.namespaced else "", reference["name"])
        return (resource, item) if item is not None and uid_of(item) == reference["uid"] else None

    async def _classify(self, item: Object) -> Owners:
        solid, waiting, dangling = [], [], []
        for reference in owners_of(item):
            owner = await self._owner(reference, item["metadata"].get("namespace", ""))
            if owner is None:
                dangling.append(reference)
            elif is_deleting(owner) and FOREGROUND in (owner["metadata"].get("finalizers") or []):
                waiting.append(reference)
            else:
                solid.append(reference)
        return Owners(tuple(solid), tuple(waiting), tuple(dangling))

    async def _owner(self, reference: Object, namespace: str) -> Object | None:
        """The owner, or None where it is certainly gone: absence is asked of the server, never of a copy."""
        known = self._known(reference, namespace)
        if known is not None:
            return known[1]
        resource = self._resource_of(reference)
        if resource is None:
            raise LookupError(f"owner kind {reference['apiVersion']} {reference['kind']} is not served")
        client = self._world.client
        scope = namespace if resource.namespaced else None
        found = await client.get(client.path(resource.api, resource.plural, scope, reference["name"]))
        return found if found is not None and uid_of(found) == reference["uid"] else None

    async def _reconcile(self, key: Item) -> None:
        resource, namespace, name = key
        store = self._watched.get(resource)
        item = store.get(namespace, name) if store is not None else None
        if item is None:
            return
        if is_deleting(item):
            await self._end(resource, item)
            return
        owners = await self._classify(item)
        for write in decide_dependent(resource, item, owners, bool(self._dependents(uid_of(item)))):
            await self._world.write(self.component, write)

    async def _end(self, resource: Resource, item: Object) -> None:
        if not {ORPHAN, FOREGROUND} & set(item["metadata"].get("finalizers") or []):
            return
        dependents: list[Child] = []
        for kind, store in list(self._watched.items()):
            await store.synced.wait()
            dependents += [(kind, child) for child in store.owned_by(uid_of(item))]
        for write in decide_deleting_owner(resource, item, dependents):
            await self._world.write(self.component, write)
        for kind, child in dependents:
            self._queue.add((kind, *key_of(child)))

    async def _work(self) -> None:
        while True:
            key = await self._queue.get()
            try:
                await self._reconcile(key)
                self._queue.forget(key)
            except (ApiError, aiohttp.ClientError, TimeoutError, LookupError) as error:
                stale = isinstance(error, ApiError) and error.code in (404, 409)
                delay = self._queue.retry(key)
                level = logging.DEBUG if stale else logging.WARNING
                log.log(
                    level,
                    "%s: %s %s/%s: %s; again in %.3f s",
                    self.component,
                    key[0].plural,
                    *key[1:],
                    error,
                    delay,
                )
            except (
                Exception
            ):  # one broken object must not stop the others: logged with its trace, and retried
                delay = self._queue.retry(key)
                log.exception("%s: %s %s/%s; again in %.3f s", self.component, key[0].plural, *key[1:], delay)
            finally:
                self._queue.done(key)
