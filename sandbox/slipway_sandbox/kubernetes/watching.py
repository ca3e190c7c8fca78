"""Watches: a stream of changes from a revision on, read straight from the journal."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping

from slipway_sandbox.kubernetes import errors
from slipway_sandbox.kubernetes.listing import Selection, not_a_number
from slipway_sandbox.kubernetes.resources import Resource
from slipway_sandbox.kubernetes.store import Event, Store, Stored, encode

BOOKMARK_SECONDS = 15.0
DEFAULT_SECONDS = 1800.0

Form = Callable[[Stored], bytes]  # how one object is written: itself, a Table, its metadata


async def watch(
    store: Store,
    resource: Resource,
    selection: Selection,
    query: Mapping[str, str],
    form: Form,
    clock: Callable[[], float],
) -> AsyncGenerator[bytes, None]:
    """Lines of watch events. `clock` counts seconds; the stream ends after the query's timeoutSeconds.

    A resourceVersion that is too old becomes an ERROR event with a 410 Status, as kube-apiserver sends it.
    """
    ends = clock() + seconds_of(query)
    bookmarks = query.get("allowWatchBookmarks", "").lower() == "true"
    initial = query.get("sendInitialEvents", "").lower() == "true"
    journal = store.journal(resource.key)
    asked = query.get("resourceVersion") or "0"
    try:
        with journal.follow(selection.namespace, selection.name) as follower:
            events: list[Event] = []  # what the follower has not been there for
            if asked == "0" or initial:
                state = store.snapshot(resource.key)
                lines = [line("ADDED", form(s)) for _, s in sorted(state.items()) if selection.has(s)]
                if initial and bookmarks:
                    lines.append(bookmark(resource, store.revision, initial_end=True))
                if lines:
                    yield b"".join(lines)
            else:
                events = journal.since(int(asked))
            next_bookmark = clock() + BOOKMARK_SECONDS
            while True:
                events += follower.take()
                if block := b"".join(filter(None, (_event(e, selection, form) for e in events))):
                    yield block
                events = []
                now = clock()
                if now >= ends:
                    return
                if not follower.woken.is_set():
                    if bookmarks and now >= next_bookmark:
                        next_bookmark = now + BOOKMARK_SECONDS
                        yield bookmark(resource, store.revision)  # all of this resource before it was sent
                        continue
                    await _wait(follower.woken, min(ends, next_bookmark) - now)
    except errors.ApiStatus as status:
        yield line("ERROR", encode(status.body()))


def seconds_of(query: Mapping[str, str]) -> float:
    """How long a watch is asked to last. Raises ApiStatus 400."""
    text = query.get("timeoutSeconds") or "0"
    try:
        return float(max(int(text), 0)) or DEFAULT_SECONDS
    except ValueError:
        raise not_a_number(text) from None


async def _wait(changed: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(max(seconds, 0.0)):
            await changed.wait()
    except TimeoutError:
        return  # time for a bookmark, or the end


def _event(event: Event, selection: Selection, form: Form) -> bytes | None:
    """The line a watcher gets: an object that starts or stops matching is ADDED or DELETED to it."""
    before, after = selection.has(event.before), selection.has(event.after)
    if event.type == "DELETED":
        return line("DELETED", form(event.after)) if before or after else None
    if after:
        return line("MODIFIED" if before else "ADDED", form(event.after))
    return line("DELETED", form(event.after)) if before else None


def line(kind: str, object_: bytes) -> bytes:
    return b'{"type":"' + kind.encode() + b'","object":' + object_ + b"}\n"


def bookmark(resource: Resource, revision: int, *, initial_end: bool = False) -> bytes:
    metadata: dict[str, object] = {"resourceVersion": str(revision), "creationTimestamp": None}
    if initial_end:
        metadata["annotations"] = {"k8s.io/initial-events-end": "true"}
    marked = {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": metadata}
    return line("BOOKMARK", encode(marked))
