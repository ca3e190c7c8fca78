from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, get_args

import pytest

from tasks.records.starts import Phase, over_budget
from tasks.releases.records import Start
from tasks.rollout.start_phases import (
    LOADING,
    Beside,
    loading_phase,
    rows,
    shown,
    slower,
    start_phases,
    streamed_rate,
    told_rate,
)
from tests.support.builders import a_model
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


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def test_a_start_is_told_from_the_decision_to_the_first_token() -> None:
    pod = a_pod(condition("PodScheduled", "2025-01-01T00:00:45Z"), READY, state=RUNNING)
    seen = Beside(
        decided=at("2024-12-31T23:59:59.5"),
        claimed=at("2025-01-01T00:00:02"),
        node_ready=at("2025-01-01T00:00:44"),
        first_token=at("2025-01-01T00:01:11.25"),
    )
    phases = start_phases(pod, (), (), seen)
    assert list(phases) == [
        "scaler",
        "node requested",
        "node ready",
        "scheduled",
        "container",
        "ready",
        "first token",
    ]
    assert (phases["scaler"], phases["node requested"], phases["node ready"]) == (0.5, 2.0, 42.0)
    assert phases["first token"] == 1.25
    assert sum(phases.values()) == pytest.approx(71.75)


def test_a_node_that_was_there_is_no_phase() -> None:
    seen = Beside(claimed=at("2024-12-31T23:00:00"), node_ready=at("2024-12-31T23:01:00"))
    assert start_phases(a_pod(SCHEDULED), (), (), seen) == {"scheduled": 2.0}


def test_every_phase_has_its_place_and_can_have_a_budget() -> None:
    pod = a_pod(SCHEDULED, READY, state=RUNNING)
    first = Beside(decided=AT, claimed=AT, node_ready=AT, first_token=at("2025-01-01T00:02:00"))
    phases = start_phases(pod, EVENTS, LOG, first)
    assert tuple(phases) == get_args(Phase)
    model = a_model(scaling={"start_budget": dict.fromkeys([*get_args(Phase), "whole"], "1h")})
    assert over_budget(phases, model.scaling.start_budget) == ()
    with pytest.raises(ValueError, match="start_budget"):
        a_model(scaling={"start_budget": {"boot": "1m"}})


@pytest.mark.parametrize(
    ("budgets", "told"),
    [
        ({}, ()),
        ({"weights": 30.0, "volume": 1.0}, ()),
        ({"weights": 20.0}, ("weights took 28.0 s, its budget is 20.0 s",)),
        ({"whole": 27.0}, ("the whole start took 28.0 s, its budget is 27.0 s",)),
    ],
)
def test_what_is_over_its_budget_is_told_with_its_phase(
    budgets: dict[Any, float], told: tuple[str, ...]
) -> None:
    assert over_budget({"weights": 28.0}, budgets) == told


def test_the_rate_of_a_stream_is_of_the_phase_that_reads_weights() -> None:
    assert streamed_rate({"engine": 5.0, "weights": 4.0}, 400 * 2**20) == 100.0
    assert streamed_rate({"engine": 5.0}, 400 * 2**20) is None


@pytest.mark.parametrize(
    ("rate", "near", "end"),
    [
        (800.0, False, "allows for 100 (deadlines.stream_mib_s)"),
        (200.0, False, "allows for 100 (deadlines.stream_mib_s)"),
        (150.0, True, ": set it to 75, or a slower start is ended"),
        (0.4, True, ": set it to 1, or a slower start is ended"),
    ],
)
def test_a_rate_near_the_slowest_allowed_is_told_with_what_to_set(rate: float, near: bool, end: str) -> None:
    found = told_rate(rate, 100.0)
    assert (found[0], found[1].endswith(end)) == (near, True), found
