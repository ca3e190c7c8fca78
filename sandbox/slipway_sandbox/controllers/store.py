"""Live copies of the collections the controllers share, never older than what they wrote themselves."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict, deque
from collections.abc import Callable, Iterator

from slipway_sandbox.apiclient import ApiClient, Informer
from slipway_sandbox.controllers.objects import Key, Object, Resource, key_of, owners_of, uid_of, version_of

log = logging.getLogger(__name__)
Listener = Callable[[Object | None, Object | None], None]
"""Called with (before, after): None before for a new object, None after for one that is gone."""

_TOMBSTONES = 4096


class Store:
    """One collection, indexed by namespace and by owner.

    `remember` puts the answer of a write in at once. A controller therefore never acts twice on what it has just
    done, which upstream achieves with expectations (controller_utils.go); an event older than what is known is
    ignored for the same reason.
    """

    def __init__(self, client: ApiClient, resource: Resource) -> None:
        self.resource = resource
        self._informer = Informer(client, client.path(resource.api, resource.plural), self._changed)
        self._objects: dict[Key, Object] = {}
        self._namespaces: dict[str, dict[Key, Object]] = defaultdict(dict)
        self._owned: dict[str, dict[Key, Object]] = defaultdict(dict)
        self._listeners: list[Listener] = []
        self._gone: deque[str] = deque(maxlen=_TOMBSTONES)
        self._gone_set: set[str] = set()

    @property
    def synced(self) -> asyncio.Event:
        return self._informer.synced

    async def run(self) -> None:
        await self._informer.run()

    def listen(self, listener: Listener) -> None:
        """Hear of every change from now on, and of every object there is already."""
        self._listeners.append(listener)
        for item in list(self._objects.values()):
            listener(None, item)

    def get(self, namespace: str, name: str) -> Object | None:
        return self._objects.get((namespace, name))

    def __iter__(self) -> Iterator[Object]:
        return iter(list(self._objects.values()))

    def __len__(self) -> int:
        return len(self._objects)

    def within(self, namespace: str) -> list[Object]:
        return list(self._namespaces[namespace].values()) if namespace in self._namespaces else []

    def owned_by(self, uid: str) -> list[Object]:
        """Objects that name this uid among their owners."""
        return list(self._owned[uid].values()) if uid in self._owned else []

    def remember(self, item: Object) -> None:
        """Take in the server's answer to a write of our own, unless something newer is known."""
        if uid_of(item) in self._gone_set:
            return
        item.setdefault("kind", self.resource.kind)
        item.setdefault("apiVersion", self.resource.api)
        # Also into the informer's own copy: its next full list then notices if the object went meanwhile.
        self._informer.objects.setdefault(key_of(item), item)
        self._put(item)

    def forget(self, item: Object) -> None:
        """Let go of an object of this uid: it was deleted, and what still arrives about it is old."""
        uid = uid_of(item)
        if len(self._gone) == self._gone.maxlen:
            self._gone_set.discard(self._gone[0])
        self._gone.append(uid)
        self._gone_set.add(uid)
        known = self._objects.get(key_of(item))
        if known is not None and uid_of(known) == uid:
            self._drop(known)
            self._tell(known, None)

    def _changed(self, event: str, item: Object) -> None:
        if event == "DELETED":
            self.forget(item)
        elif uid_of(item) not in self._gone_set:
            self._put(item)

    def _put(self, item: Object) -> None:
        before = self._objects.get(key_of(item))
        if before is not None:
            if version_of(item) <= version_of(before):
                return
            self._drop(before)
        key = key_of(item)
        self._objects[key] = item
        self._namespaces[key[0]][key] = item
        for owner in owners_of(item):
            self._owned[owner["uid"]][key] = item
        if before is not None and uid_of(before) != uid_of(item):
            self._tell(before, None)
            before = None
        self._tell(before, item)

    def _drop(self, item: Object) -> None:
        key = key_of(item)
        self._objects.pop(key, None)
        self._namespaces[key[0]].pop(key, None)
        if not self._namespaces[key[0]]:
            del self._namespaces[key[0]]
        for owner in owners_of(item):
            owned = self._owned.get(owner["uid"])
            if owned is not None:
                owned.pop(key, None)
                if not owned:
                    del self._owned[owner["uid"]]

    def _tell(self, before: Object | None, after: Object | None) -> None:
        for listener in self._listeners:
            try:
                listener(before, after)
            except Exception:  # one odd object must not end the watch of all others: logged with its trace
                item = after or before or {}
                log.exception("%s %s: not taken in", self.resource.kind, key_of(item))
