"""In which order a cluster's events are read."""

from __future__ import annotations

from typing import Any

from tasks.cloud.kubernetes import last_seen

COUNTED: dict[str, Any] = {
    "firstTimestamp": "2026-01-01T00:00:01Z",
    "lastTimestamp": "2026-01-01T00:00:05Z",
    "eventTime": None,
}
ONCE: dict[str, Any] = {
    "eventTime": "2026-01-01T00:00:03.000000Z",
    "firstTimestamp": None,
    "lastTimestamp": None,
}
SERIES = ONCE | {"series": {"count": 2, "lastObservedTime": "2026-01-01T00:00:07.000000Z"}}


def test_an_event_is_as_young_as_its_last_time_however_it_is_kept() -> None:
    events: list[dict[str, Any]] = [SERIES, COUNTED, ONCE, {}]
    assert sorted(events, key=last_seen) == [{}, ONCE, COUNTED, SERIES]
