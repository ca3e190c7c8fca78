"""The objects and their history: what etcd and the watch cache are to a real API server, in one event loop.

Stored objects are never changed in place, so a snapshot, a watch event and a cached encoding can share them.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from slipway_sandbox.kubernetes import errors
from slipway_sandbox.kubernetes.resources import Key

Object = dict[str, Any]
Name = tuple[str, str]  # (namespace or "", name)

JOURNAL_EVENTS = 1000  # per resource; who falls further behind must list again (410)


def encode(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


class Stored:
    """One revision of an object, with its JSON kept once somebody asked for it."""

    __slots__ = ("_encoded", "object")

    def __init__(self, object_: Object) -> None:
        # apiVersion and kind first: list items leave them out by cutting off a prefix of the encoding.
        head = {"apiVersion": object_["apiVersion"], "kind": object_["kind"]}
        self.object: Object = head | object_
        self._encoded: bytes | None = None

    @property
    def encoded(self) -> bytes:
        if self._encoded is None:
            self._encoded = encode(self.object)
        return self._encoded

    @property
    def encoded_item(self) -> bytes:
        """As an item of a typed list: without apiVersion and kind, which kube-apiserver leaves out there."""
        head = encode({"apiVersion": self.object["apiVersion"], "kind": self.object["kind"]})
        return b"{" + self.encoded[len(head) :]

    @property
    def metadata(self) -> Object:
        meta: Object = self.object["metadata"]
        return meta

    @property
    def name(self) -> Name:
        return self.metadata.get("namespace", ""), self.metadata["name"]


@dataclass(frozen=True, slots=True)
class Event:
    """One change. `before` is None for a creation; `after` of a deletion is the last state, at a new revision."""

    revision: int
    type: str  # ADDED, MODIFIED, DELETED
    after: Stored
    before: Stored | None


class Follower:
    """A watcher's share of the changes to come. With 200 pods watched, a change must not wake 199 for nothing."""

    def __init__(self, namespace: str | None, name: str | None) -> None:
        self._namespace, self._name = namespace, name
        self._pending: list[Event] = []
        self._lost = 0  # the revision of a change there was no room for
        self.woken = asyncio.Event()

    def offer(self, event: Event, name: Name) -> None:
        if self._name not in (None, name[1]) or self._namespace not in (None, name[0]):
            return
        if len(self._pending) >= 2 * JOURNAL_EVENTS:
            self._lost = event.revision
        else:
            self._pending.append(event)
        self.woken.set()

    def take(self) -> list[Event]:
        """What happened since the last call, oldest first. Raises ApiStatus 410 where it was too much to keep."""
        if self._lost:
            raise errors.expired(f"too old resource version: {self._pending[0].revision} ({self._lost})")
        events, self._pending = self._pending, []
        self.woken.clear()
        return events


class Journal:
    """The last changes of one resource, and who follows it."""

    def __init__(self) -> None:
        self._events: list[Event] = []
        self.forgotten = 0  # the revision of the newest event that is no longer here
        self._followers: set[Follower] = set()

    @contextlib.contextmanager
    def follow(self, namespace: str | None, name: str | None) -> Iterator[Follower]:
        """Every change from now on of the objects in that namespace, or of that name; None stands for all."""
        follower = Follower(namespace, name)
        self._followers.add(follower)
        try:
            yield follower
        finally:
            self._followers.discard(follower)

    def record(self, event: Event) -> None:
        self._events.append(event)
        if len(self._events) > 2 * JOURNAL_EVENTS:  # cut in halves, so that a record costs O(1) on average
            self.forgotten = self._events[JOURNAL_EVENTS - 1].revision
            del self._events[:JOURNAL_EVENTS]
        name = event.after.name
        for follower in self._followers:
            follower.offer(event, name)

    def since(self, revision: int) -> list[Event]:
        """Events after `revision`, oldest first. Raises ApiStatus 410 where some of them are forgotten."""
        if revision < self.forgotten:
            raise errors.expired(f"too old resource version: {revision} ({self.forgotten})")
        found = len(self._events)
        while found and self._events[found - 1].revision > revision:
            found -= 1
        return self._events[found:]


class Store:
    """Objects by resource, namespace and name. Every write gets the next revision, whatever the resource."""

    def __init__(self, first_revision: int = 1) -> None:
        self.revision = first_revision
        self._objects: dict[Key, dict[Name, Stored]] = {}
        self._journals: dict[Key, Journal] = {}
        self.after_write: list[Callable[[Key, Event], None]] = []

    def journal(self, key: Key) -> Journal:
        return self._journals.setdefault(key, Journal())

    def get(self, key: Key, namespace: str | None, name: str) -> Stored | None:
        return self._objects.get(key, {}).get((namespace or "", name))

    def all(self, key: Key) -> Iterator[Stored]:
        """In no particular order."""
        return iter(list(self._objects.get(key, {}).values()))

    def snapshot(self, key: Key) -> dict[Name, Stored]:
        """The collection now."""
        return dict(self._objects.get(key, {}))

    def put(self, key: Key, object_: Object) -> Stored:
        """Keep a new revision of an object; its resourceVersion is set here."""
        self.revision += 1
        metadata = object_["metadata"] | {"resourceVersion": str(self.revision)}
        after = Stored(object_ | {"metadata": metadata})
        collection = self._objects.setdefault(key, {})
        before = collection.get(after.name)
        collection[after.name] = after
        self._record(key, Event(self.revision, "MODIFIED" if before else "ADDED", after, before))
        return after

    def remove(self, key: Key, last: Object) -> Stored:
        """Take an object out; watchers see `last` at a new revision."""
        self.revision += 1
        metadata = last["metadata"] | {"resourceVersion": str(self.revision)}
        gone = Stored(last | {"metadata": metadata})
        before = self._objects[key].pop(gone.name)
        self._record(key, Event(self.revision, "DELETED", gone, before))
        return gone

    def _record(self, key: Key, event: Event) -> None:
        self.journal(key).record(event)
        for hook in self.after_write:
            hook(key, event)


def copy_json(value: Any) -> Any:
    """A deep copy of JSON data, several times faster than copy.deepcopy."""
    if isinstance(value, dict):
        return {key: copy_json(item) for key, item in value.items()}
    if isinstance(value, list):
        return [copy_json(item) for item in value]
    return value
