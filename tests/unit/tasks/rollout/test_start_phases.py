from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from tasks.releases.records import Start
from tasks.rollout.start_phases import LOADING, loading_phase, rows, shown, slower, start_phases
from tests.support.pods import READY, RUNNING, SCHEDULED, UNREADY, a_pod, condition

LOG = (
    "2025-01-01T00:00:12.000000000Z (APIServer pid=7) INFO [api_utils.py:327] vLLM server version 0.32.0",
    "2025-01-01T00:00:20.500000000Z (EngineCore pid=9) INFO [gpu_model_runner.py:5040] Starting to load model /m...",
    "2025-01-01T00:00:48.500000000Z (EngineCore pid=9) INFO Model loading took 15.0 GiB memory and 28.0 seconds",
    "2025-01-01T00:01:00.500000000Z (EngineCore pid=9) INFO init engine (profile, create kv cache, warmup model) took 12.0 s",
    "2025-01-01T00:01:02.500000000Z INFO:     Application startup complete.",
    '2025-01-01T00:01:09.500000000Z INFO:     127.0.0.1:1 - "POST /v1/completions HTTP/1.1" 200 OK',
)
AT = datetime(2025, 1, 1, tzinfo=UTC)
EVENTS = (
    {"reason": "SuccessfulAttachVolume", "firstTimestamp": "2025-01-01T00:00:04Z"},
    {"reason": "Pulled", "eventTime": "2025-01-01T00:00:09.000000Z", "firstTimestamp": None},
    {"reason": "Unhealthy", "firstTimestamp": "2025-01-01T00:00:15Z"},
)


@pytest.mark.parametrize(
    ("pod", "phases"),
    [
        (a_pod(SCHEDULED, READY, state=RUNNING), {"scheduled": 2.0, "container": 8.0, "ready": 60.0}),
        (a_pod(SCHEDULED, UNREADY, state=RUNNING), {"scheduled": 2.0, "container": 8.0}),
        (a_pod(SCHEDULED), {"scheduled": 2.0}),
        (a_pod(), {}),
    ],
)
def test_a_start_is_told_in_its_phases(pod: dict[str, Any], phases: dict[str, float]) -> None:
    assert start_phases(pod) == phases


def test_events_and_the_log_tell_what_conditions_do_not() -> None:
    assert start_phases(a_pod(SCHEDULED, READY, state=RUNNING), EVENTS, LOG) == {
        "scheduled": 2.0,
        "volume": 2.0,
        "image": 5.0,
        "container": 1.0,
        "engine": 10.5,
        "weights": 28.0,
        "compile": 12.0,
        "server": 2.0,
        "first answer": 7.0,
        "ready": 0.5,
    }


def test_the_phases_add_up_to_the_whole_start() -> None:
    assert sum(start_phases(a_pod(SCHEDULED, READY, state=RUNNING), EVENTS, LOG).values()) == 70.0


def test_only_the_first_completion_is_the_first_token() -> None:
    later = '2025-01-01T00:09:00.000000000Z INFO:     127.0.0.1:1 - "POST /v1/completions HTTP/1.1" 200 OK'
    assert start_phases(a_pod(SCHEDULED), (), (*LOG, later))["first answer"] == 7.0


def test_a_restart_after_ready_makes_no_negative_time() -> None:
    late = {"running": {"startedAt": "2025-01-01T00:05:00Z"}}
    phases = start_phases(a_pod(SCHEDULED, READY, state=late))
    assert all(took >= 0 for took in phases.values())


def test_times_of_whole_seconds_that_look_reversed_make_no_negative_time() -> None:
    early = condition("Ready", "2025-01-01T00:01:09Z")
    phases = start_phases(a_pod(SCHEDULED, early, state=RUNNING), EVENTS, LOG)
    assert all(took >= 0 for took in phases.values())
    assert sum(phases.values()) == 69.5


@pytest.mark.parametrize(("lines", "phase"), [(count, LOADING[max(0, count - 1)]) for count in range(6)])
def test_a_load_is_told_by_the_last_thing_that_is_done(lines: int, phase: str) -> None:
    assert loading_phase(LOG[:lines]) == phase


def test_a_start_is_compared_with_the_last() -> None:
    now, before = {"scheduled": 1.0, "weights": 41.0}, {"weights": 28.0, "compile": 3.0}
    assert rows(now, before) == [
        {"phase": "scheduled", "seconds": "1.0", "last time": ""},
        {"phase": "weights", "seconds": "41.0", "last time": "28.0"},
        {"phase": "in all", "seconds": "42.0", "last time": "31.0"},
    ]
    assert rows(now, {})[-1]["last time"] == ""


def test_many_phases_a_little_slower_are_a_start_that_is_slower() -> None:
    now, before = dict.fromkeys("abcdef", 1.3), dict.fromkeys("abcdef", 1.0)
    assert slower(now, before) == ["the whole start 7.8 s, was 6.0 s"]


def test_a_start_is_told_in_one_line() -> None:
    first = Start(at=AT, cause="rollout", phases={"scheduled": 1.0, "weights": 28.0})
    again = Start(at=AT, cause="wake", phases={"scheduled": 40.0})
    assert shown(first, None) == "scheduled 1.0 s, weights 28.0 s; 29.0 s in all"
    assert shown(again, first) == "scheduled 40.0 s; 40.0 s in all, last time 29.0 s"


@pytest.mark.parametrize(
    ("took", "was", "said"),
    [
        (41.0, 28.0, ["weights 41.0 s, was 28.0 s", "the whole start 41.0 s, was 28.0 s"]),
        (28.0, 41.0, []),
        (30.0, 28.0, []),  # within what any two starts differ by
        (0.9, 0.1, []),
    ],
)
def test_only_what_became_notably_slower_is_said(took: float, was: float, said: list[str]) -> None:
    assert slower({"weights": took}, {"weights": was}) == said
    assert slower({"weights": took}, {}) == []
