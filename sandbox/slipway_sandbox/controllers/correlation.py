"""Which events become one, as client-go decides it: controllers count what is repeated, the scheduler makes it a series.

Sources: k8s.io/client-go/tools/record/events_cache.go and tools/events/event_broadcaster.go.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeVar

from slipway_sandbox.controllers.objects import Object, precise_timestamp

_REMEMBERED = 4096  # maxLruCacheEntries
_ALIKE = 10  # so many events that differ by their message only, within
_ALIKE_SECONDS = 600  # this time, and further ones are combined
_BURST = 25  # events of one type a component may have about an object at once
_REFILL_SECONDS = 300  # and after how long another
_SERIES_ENDS = timedelta(minutes=6)

Key = tuple[str, ...]
Value = TypeVar("Value")


@dataclass(frozen=True)
class Correlated:
    """An event to write: anew, or as `patch` onto the one of its name (and anew where that has expired)."""

    event: Object
    patch: Object | None = None


class Counted:
    """The recorder controllers have: the same again raises the count, too many alike are combined, floods are cut."""

    def __init__(self) -> None:
        self._alike: OrderedDict[Key, _Alike] = OrderedDict()
        self._seen: OrderedDict[Key, Object] = OrderedDict()
        self._buckets: OrderedDict[Key, tuple[float, datetime]] = OrderedDict()

    def correlate(self, event: Object, moment: datetime) -> Correlated | None:
        """None where the event is dropped: its component has said too much about the object."""
        event, key = self._combine(event, moment)
        known = self._seen.get(key)
        if known is not None:
            again = {"count": known["count"] + 1}
            kept = {name: known[name] for name in ("metadata", "firstTimestamp")}
            event = {**event, **kept, **again}
        _remember(self._seen, key, event)
        if not self._accepts((*_about(event), event["type"]), moment):
            return None
        if known is None:
            return Correlated(event)
        return Correlated(event, {name: event[name] for name in ("count", "message", "lastTimestamp")})

    def _combine(self, event: Object, moment: datetime) -> tuple[Object, Key]:
        """(the event, or the one that stands for it and its like; its key)."""
        group = (*_about(event), event["type"], event["reason"], event["reportingComponent"])
        alike = self._alike.get(group)
        if alike is None or moment - alike.last > timedelta(seconds=_ALIKE_SECONDS):
            alike = _Alike(moment)
        _remember(self._alike, group, alike)
        alike.last = moment
        alike.messages.add(event["message"])
        if len(alike.messages) < _ALIKE:
            return event, (*group, event["message"])
        alike.messages.pop()
        message = f"(combined from similar events): {event['message']}"
        # The combined one has a source only, as upstream's.
        return {**event, "message": message, "reportingComponent": "", "reportingInstance": ""}, group

    def _accepts(self, key: Key, moment: datetime) -> bool:
        tokens, at = self._buckets.get(key) or (float(_BURST), moment)
        tokens = min(tokens + (moment - at).total_seconds() / _REFILL_SECONDS, float(_BURST))
        accepted = tokens >= 1
        _remember(self._buckets, key, (tokens - accepted, moment))
        return accepted


class Series:
    """The recorder the scheduler has: the same about an unchanged object again is a series, under its first message.

    So a new message is not to be seen until the object has changed: its condition says it at once.
    """

    def __init__(self) -> None:
        self._known: OrderedDict[Key, _Run] = OrderedDict()

    def correlate(self, event: Object, moment: datetime) -> Correlated | None:
        """None where the series is known to go on: only its beginning is written."""
        version = event["involvedObject"].get("resourceVersion", "")
        key = (*_about(event), version, event["type"], event["reason"], event["action"])
        known = self._known.get(key)
        if known is None or moment - known.until > _SERIES_ENDS:
            _remember(self._known, key, _Run(event, moment))
            return Correlated(event)
        begun, known.until, known.is_series = known.is_series, moment, True
        if begun:
            return None
        series = {"series": {"count": 2, "lastObservedTime": precise_timestamp(moment)}}
        return Correlated({**known.event, **series}, series)


@dataclass
class _Alike:
    last: datetime
    messages: set[str] = field(default_factory=set)


def _remember(cache: OrderedDict[Key, Value], key: Key, value: Value) -> None:
    cache[key] = value
    cache.move_to_end(key)
    while len(cache) > _REMEMBERED:
        cache.popitem(last=False)


@dataclass
class _Run:
    event: Object
    until: datetime
    is_series: bool = False


def _about(event: Object) -> Key:
    involved = event["involvedObject"]
    names = ("apiVersion", "kind", "namespace", "name", "uid", "fieldPath")
    return (event["source"].get("component", ""), *(str(involved.get(name, "")) for name in names))
