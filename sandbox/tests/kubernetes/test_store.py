from __future__ import annotations

import json
import time
from typing import Any

import pytest

from slipway_sandbox.kubernetes.errors import ApiStatus
from slipway_sandbox.kubernetes.listing import Selection, list_page
from slipway_sandbox.kubernetes.presentation import Presenter
from slipway_sandbox.kubernetes.resources import Registry
from slipway_sandbox.kubernetes.store import JOURNAL_EVENTS, Store
from slipway_sandbox.kubernetes.watching import watch

_RESOURCE = Registry().core("configmaps")
_ALL = Selection.parse(_RESOURCE, None, None, {})


def _object(name: str, **data: str) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "default"}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def _presenter() -> Presenter:
    return Presenter(_RESOURCE, "", "", lambda then: then)


async def _watched(store: Store, query: dict[str, str], clock: Any) -> list[dict[str, Any]]:
    blocks = [b async for b in watch(store, _RESOURCE, _ALL, query, _presenter().one, clock)]
    return [json.loads(line) for line in b"".join(blocks).splitlines()]


def test_every_write_gets_the_next_revision() -> None:
    store = Store(first_revision=10)
    versions = [
        store.put(_RESOURCE.key, _object("a", n=str(n))).metadata["resourceVersion"] for n in range(3)
    ]
    assert versions == ["11", "12", "13"]


def test_the_journal_is_bounded_and_says_so() -> None:
    store = Store()
    for number in range(2 * JOURNAL_EVENTS + 1):
        store.put(_RESOURCE.key, _object("a", n=str(number)))
    assert len(store.journal(_RESOURCE.key).since(store.revision - JOURNAL_EVENTS)) == JOURNAL_EVENTS
    with pytest.raises(ApiStatus, match="too old resource version"):
        store.journal(_RESOURCE.key).since(2)


async def test_a_forgotten_version_is_an_expired_error_event() -> None:
    store = Store()
    for number in range(2 * JOURNAL_EVENTS + 1):
        store.put(_RESOURCE.key, _object("a", n=str(number)))
    (event,) = await _watched(store, {"resourceVersion": "2"}, time.monotonic)
    assert (event["type"], event["object"]["code"], event["object"]["reason"]) == ("ERROR", 410, "Expired")


async def test_bookmarks_come_every_fifteen_seconds() -> None:
    store = Store()
    ticks = iter([0.0, 0.0, 15.01, 16.01])  # start, start, a bookmark is due, the end
    query = {"resourceVersion": "1", "allowWatchBookmarks": "true", "timeoutSeconds": "16"}
    events = await _watched(store, query, lambda: next(ticks))
    assert [event["type"] for event in events] == ["BOOKMARK"]
    assert events[0]["object"]["metadata"]["resourceVersion"] == "1"


def test_two_thousand_objects_are_encoded_once() -> None:
    store = Store()
    for number in range(2000):
        store.put(_RESOURCE.key, _object(f"c{number}", text="x" * 500))
    first = _presenter().list(list_page(store, _RESOURCE, _ALL, {}))
    started = time.process_time()
    again = _presenter().list(list_page(store, _RESOURCE, _ALL, {}))
    assert time.process_time() - started < 0.2
    assert first == again
    assert len(json.loads(again)["items"]) == 2000


def test_a_follower_gets_the_changes_of_its_own_object_alone() -> None:
    store = Store()
    with store.journal(_RESOURCE.key).follow("default", "a") as follower:
        for name in ("a", "b", "a"):
            store.put(_RESOURCE.key, _object(name))
        assert [event.type for event in follower.take()] == ["ADDED", "MODIFIED"]
        assert follower.take() == []


def test_a_follower_that_does_not_read_must_list_again() -> None:
    store = Store()
    with store.journal(_RESOURCE.key).follow(None, None) as follower:
        for number in range(2 * JOURNAL_EVENTS + 1):
            store.put(_RESOURCE.key, _object("a", n=str(number)))
        with pytest.raises(ApiStatus, match="too old resource version"):
            follower.take()


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ("metadata.name=a", "a"),
        ("metadata.namespace=x,metadata.name==a", "a"),
        ("metadata.name!=a", None),
        ("", None),
    ],
)
def test_a_selection_of_one_name_says_so(fields: str, name: str | None) -> None:
    assert Selection.parse(_RESOURCE, None, None, {"fieldSelector": fields}).name == name
