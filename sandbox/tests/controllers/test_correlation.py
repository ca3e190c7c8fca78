"""Which events become one: tables over what client-go's recorders do."""

from __future__ import annotations

from datetime import timedelta

import pytest

from slipway_sandbox.controllers.correlation import Counted, Series
from slipway_sandbox.controllers.objects import Object
from tests.controllers.builders import NOW


def event(message: str, reason: str = "Failed", version: str = "1", uid: str = "u") -> Object:
    return {
        "metadata": {"name": f"p.{message}.{version}", "namespace": "default"},
        "involvedObject": {"kind": "Pod", "name": "p", "uid": uid, "resourceVersion": version},
        "type": "Warning",
        "reason": reason,
        "message": message,
        "action": "Scheduling",
        "source": {"component": "c"},
        "reportingComponent": "c",
        "reportingInstance": "",
        "count": 1,
        "firstTimestamp": "first",
        "lastTimestamp": f"last {message}",
    }


def test_the_same_again_raises_the_count_of_the_first() -> None:
    recorder = Counted()
    first = recorder.correlate(event("m"), NOW)
    again = recorder.correlate(event("m", version="2"), NOW)
    assert first is not None
    assert again is not None
    assert first.patch is None
    assert again.event["metadata"] == first.event["metadata"]
    assert again.patch == {"count": 2, "lastTimestamp": "last m"}


@pytest.mark.parametrize("other", [event("m", reason="Other"), event("m", uid="v"), event("n")])
def test_another_reason_object_or_message_is_an_event_of_its_own(other: Object) -> None:
    recorder = Counted()
    recorder.correlate(event("m"), NOW)
    found = recorder.correlate(other, NOW)
    assert found is not None
    assert found.patch is None


def test_the_schedulers_second_is_a_series_under_the_first_message_and_the_third_is_silent() -> None:
    recorder = Series()
    first = recorder.correlate(event("m"), NOW)
    second = recorder.correlate(event("n"), NOW)
    assert first is not None
    assert second is not None
    assert first.patch is None
    assert second.patch == {"series": {"count": 2, "lastObservedTime": "2030-01-01T12:00:00.000000Z"}}
    assert (second.event["message"], second.event["metadata"]) == ("m", first.event["metadata"])
    assert recorder.correlate(event("m"), NOW) is None


@pytest.mark.parametrize(("version", "minutes", "anew"), [("2", 0, True), ("1", 7, True), ("1", 6, False)])
def test_a_changed_object_or_six_minutes_begin_another_event(version: str, minutes: int, anew: bool) -> None:
    recorder = Series()
    recorder.correlate(event("m"), NOW)
    found = recorder.correlate(event("m", version=version), NOW + timedelta(minutes=minutes))
    assert found is not None
    assert (found.patch is None) == anew
