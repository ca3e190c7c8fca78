"""The loop every controller runs: watch, queue the key, reconcile it, write what was decided, retry what failed."""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import aiohttp

from slipway_sandbox.apiclient import ApiClient, ApiError
from slipway_sandbox.controllers.events import Recorder
from slipway_sandbox.controllers.objects import Key, Object, Resource, controller_of, key_of, uid_of
from slipway_sandbox.controllers.store import Store
from slipway_sandbox.controllers.workqueue import WorkQueue
from slipway_sandbox.controllers.writes import Create, Decision, Delete, Note, Patch, Update, Write, send

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Timing:
    """Seconds. Shorter than upstream where a sandbox would otherwise wait without learning anything."""

    job_backoff: float = 1.0  # upstream 10: between a job's failed pods, doubling
    job_backoff_limit: float = 60.0  # upstream 360
    orphan_pod_grace: float = 5.0  # upstream 40: before pods of a vanished node are removed
    volume_binding: float = 600.0  # as upstream: how long the scheduler waits for a claim


def utc_now() -> datetime:
    return datetime.now(UTC)


class World:
    """What the controllers share: the API, one store a collection, the event recorder, the clock."""

    def __init__(
        self,
        client: ApiClient,
        group: asyncio.TaskGroup,
        now: Callable[[], datetime] = utc_now,
        timing: Timing | None = None,
    ) -> None:
        """The stores' informers run in `group`: one that breaks ends them all rather than going stale unseen."""
        self.client, self.now, self.timing = client, now, timing or Timing()
        self._group = group
        self.recorder = Recorder(client, now)
        self._stores: dict[Resource, Store] = {}
        self._tasks: dict[Resource, asyncio.Task[None]] = {}

    def store(self, resource: Resource) -> Store:
        """The shared copy of a collection; it begins to fill when it is first asked for."""
        if resource not in self._stores:
            store = self._stores[resource] = Store(self.client, resource)
            self._tasks[resource] = self._group.create_task(store.run(), name=f"informer {resource.plural}")
        return self._stores[resource]

    def has_store(self, resource: Resource) -> bool:
        return resource in self._stores

    def stop_store(self, resource: Resource) -> None:
        """A collection that is served no longer."""
        self._stores.pop(resource)
        self._tasks.pop(resource).cancel()

    async def write(self, component: str, write: Write) -> Object | None:
        """Carry out one write and remember its answer. Raises ApiError."""
        if isinstance(write, Note):
            self.recorder.note(component, write)
            return None
        answer = await send(self.client, write)
        store = self._stores.get(write.resource)
        if store is not None:
            if answer is not None:
                store.remember(answer)
            elif isinstance(write, Delete):
                store.forget(write.target)
        return answer


def namespace_ends(error: ApiError) -> bool:
    """A create was refused because the namespace is going: nothing to report, and nothing to try again."""
    return error.code == 403 and "being terminated" in error.message


class Controller(ABC):
    """Subclasses name what they need, map changes to keys in `wire`, and reconcile one key at a time."""

    component: str
    needs: tuple[Resource, ...]
    workers = 4

    def __init__(self, world: World) -> None:
        self.world = world
        self.queue: WorkQueue[Key] = WorkQueue()

    @abstractmethod
    def wire(self) -> None:
        """Subscribe to the stores; called once they are complete."""

    @abstractmethod
    async def reconcile(self, key: Key) -> None:
        """Make one object so. Whatever it raises is logged and the key is tried again."""

    async def run(self) -> None:
        """Never returns; end it by cancelling."""
        for store in [self.world.store(resource) for resource in self.needs]:
            await store.synced.wait()
        self.wire()
        try:
            async with asyncio.TaskGroup() as group:
                for number in range(self.workers):
                    group.create_task(self._work(), name=f"{self.component} {number}")
        finally:
            self.queue.close()

    def watch(self, resource: Resource, keys: Callable[[Object], Iterable[Key]]) -> None:
        """Queue the keys an object of this collection belongs to, whenever it changes."""

        def changed(before: Object | None, after: Object | None) -> None:
            for item in (before, after):
                if item is not None:
                    for key in keys(item):
                        self.queue.add(key)

        self.world.store(resource).listen(changed)

    def watch_own(self, resource: Resource) -> None:
        self.watch(resource, lambda item: [key_of(item)])

    def watch_children(self, resource: Resource, kind: str) -> None:
        """Queue the controller (of this kind) of an object that changes."""

        def owner(item: Object) -> list[Key]:
            reference = controller_of(item)
            if reference is None or reference["kind"] != kind:
                return []
            return [(item["metadata"].get("namespace", ""), reference["name"])]

        self.watch(resource, owner)

    async def act(self, key: Key, decision: Decision) -> None:
        """Carry a decision out, in order. Raises ApiError for a write that is refused: at once, but where it is a
        creation whose refusal is to be said, after the status has been written.
        """
        fresh: dict[str, Object] = {}
        refusal: ApiError | None = None
        for write in decision.writes:
            if refusal is not None and getattr(write, "sub", "") != "status":
                continue
            if isinstance(write, Update) and (newer := fresh.get(uid_of(write.body))):
                # The version moved by our own earlier write: still nobody else's change is overwritten.
                version = newer["metadata"]["resourceVersion"]
                metadata = write.body["metadata"] | {"resourceVersion": version}
                write = replace(write, body=write.body | {"metadata": metadata})
            try:
                answer = await self.world.write(self.component, write)
            except ApiError as error:
                if not isinstance(write, Create) or write.refused is None or namespace_ends(error):
                    raise
                if error.code != 409:  # somebody made it: the next look takes it in
                    note = replace(write.refused, message=write.refused.message + error.message)
                    self.world.recorder.note(self.component, note)
                refusal = error
                continue
            if isinstance(write, Create) and write.made is not None:
                self.world.recorder.note(self.component, write.made)
            if answer is not None and isinstance(write, Update | Patch):
                fresh[uid_of(answer)] = answer
        if decision.again_in is not None:
            self.queue.add_after(key, decision.again_in)
        if refusal is not None:
            raise refusal

    async def _work(self) -> None:
        while True:
            key = await self.queue.get()
            try:
                await self.reconcile(key)
                self.queue.forget(key)
            except ApiError as error:
                if namespace_ends(error):
                    self.queue.forget(key)
                    continue
                # 409 and 404 mean this copy is old: the ordinary way of optimistic locking.
                level = logging.DEBUG if error.code in (404, 409) else logging.WARNING
                delay = self.queue.retry(key)
                log.log(level, "%s: %s/%s: %s; again in %.3f s", self.component, *key, error, delay)
            except (aiohttp.ClientError, TimeoutError, ConnectionError) as error:
                delay = self.queue.retry(key)
                log.warning("%s: %s/%s: %r; again in %.3f s", self.component, *key, error, delay)
            except (
                Exception
            ):  # one broken object must not stop the others: logged with its trace, and retried
                log.exception("%s: %s/%s; again in %.3f s", self.component, *key, self.queue.retry(key))
            finally:
                self.queue.done(key)
