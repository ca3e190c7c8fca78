"""Which events become one, as client-go decides it: controllers count what is repeated, the scheduler makes it a series.

Sources: k8s.io/client-go/tools/record/events_cache.go and tools/events/event_broadcaster.go.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

from slipway_sandbox.controllers.objects import Object, precise_timestamp

_REMEMBERED = 4096  # maxLruCacheEntries
_SERIES_ENDS = timedelta(minutes=6)

Key = tuple[str, ...]
Value = TypeVar("Value")


@dataclass(frozen=True)
class Correlated:
    """An event to write: anew, or as `patch` onto the one of its name (and anew where that has expired)."""

    event: Object
    patch: Object | None = None


class Counted:
    """The recorder controllers have: the same again raises the count."""

    def __init__(self) -> None:
        self._seen: OrderedDict[Key, Object] = OrderedDict()

    def correlate(self, event: Object, _moment: datetime) -> Correlated | None:
        key = (*_about(event), event["type"], event["reason"], event["reportingComponent"], event["message"])
        known = self._seen.get(key)
        if known is None:
            _remember(self._seen, key, event)
            return Correlated(event)
        kept = {name: known[name] for name in ("metadata", "firstTimestamp")}
        again = {**event, **kept, "count": known["count"] + 1}
        _remember(self._seen, key, again)
        return Correlated(again, {name: again[name] for name in ("count", "lastTimestamp")})


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
