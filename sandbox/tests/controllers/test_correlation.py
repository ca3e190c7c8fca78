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
    assert again.patch == {"count": 2, "message": "m", "lastTimestamp": "last m"}


@pytest.mark.parametrize("other", [event("m", reason="Other"), event("m", uid="v"), event("n")])
def test_another_reason_object_or_message_is_an_event_of_its_own(other: Object) -> None:
    recorder = Counted()
    recorder.correlate(event("m"), NOW)
    found = recorder.correlate(other, NOW)
    assert found is not None
    assert found.patch is None


@pytest.mark.parametrize(
    ("pause", "combined"),
    [(0, "(combined from similar events): m9"), (600, "(combined from similar events): m9"), (601, "m9")],
)
def test_the_tenth_message_within_ten_minutes_stands_for_the_rest(pause: int, combined: str) -> None:
    recorder = Counted()
    for number in range(9):
        found = recorder.correlate(event(f"m{number}"), NOW)
        assert found is not None
        assert found.event["message"] == f"m{number}"
    later = NOW + timedelta(seconds=pause)
    tenth = recorder.correlate(event("m9"), later)
    assert tenth is not None
    assert tenth.event["message"] == combined
    if pause <= 600:
        eleventh = recorder.correlate(event("m10"), later)
        assert eleventh is not None
        assert (eleventh.event["metadata"], eleventh.event["count"]) == (tenth.event["metadata"], 2)
        assert (eleventh.patch or {})["message"] == "(combined from similar events): m10"


@pytest.mark.parametrize(("pause", "heard"), [(0, False), (299, False), (300, True)])
def test_after_25_events_about_an_object_only_one_in_five_minutes_is_written(pause: int, heard: bool) -> None:
    recorder = Counted()
    written = [recorder.correlate(event("m"), NOW) for _ in range(26)]
    assert [found is not None for found in written] == [True] * 25 + [False]
    assert (recorder.correlate(event("m"), NOW + timedelta(seconds=pause)) is not None) == heard


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
