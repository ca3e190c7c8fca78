"""The bench of Prefect's server: what it reads of an access log and of runs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from bench.server.figures import delays, keeps_up, limit, requests, spread

DUE = datetime(2026, 11, 29, 12, tzinfo=UTC)


def figures(**more: Any) -> dict[str, Any]:
    return {
        "rate": 2000, "runs": 100, "late": 0, "failed_requests": 0, "delay_s": {"p95": 0.4}, "server_cores": 0.5,
        "runner_cores": 0.4, **more,
    }  # fmt: skip


def test_requests_are_counted_by_path_without_ids_and_without_the_benchs_own() -> None:
    lines = [
        f'INFO:     127.0.0.1:1 - "GET /api/flow_runs/{uuid4()} HTTP/1.1" 200 OK',
        f'INFO:     127.0.0.1:2 - "GET /api/flow_runs/{uuid4()} HTTP/1.1" 200 OK',
        'INFO:     127.0.0.1:2 - "POST /api/deployments/filter?bench HTTP/1.1" 200 OK',
        'INFO:     127.0.0.1:3 - "POST /api/logs/ HTTP/1.1" 503 Service Unavailable',
        "12:00:00.000 | WARNING | something else",
    ]
    assert requests(lines) == {("/api/flow_runs/ID", 200): 2, ("/api/logs/", 503): 1}


def test_a_run_that_has_not_begun_waits_until_now() -> None:
    runs: list[dict[str, Any]] = [
        {"expected_start_time": DUE.isoformat(), "start_time": (DUE + timedelta(seconds=2)).isoformat()},
        {"expected_start_time": DUE.isoformat(), "start_time": None},
        {"expected_start_time": DUE.isoformat(), "start_time": (DUE - timedelta(seconds=1)).isoformat()},
    ]
    assert delays(runs, DUE + timedelta(seconds=20)) == [2.0, 20.0, 0.0]


def test_a_spread_has_the_middle_and_the_ends() -> None:
    assert spread([float(n) for n in range(1, 101)]) == {
        "median": 50.5,
        "p95": 96.0,
        "min": 1.0,
        "max": 100.0,
    }


def test_a_late_run_a_failed_request_and_slow_starts_are_each_beyond_the_limit() -> None:
    assert keeps_up(figures())
    assert not keeps_up(figures(late=1))
    assert not keeps_up(figures(failed_requests=1))
    assert not keeps_up(figures(delay_s={"p95": 5.1}))


def test_the_limit_is_the_first_rate_that_was_too_much() -> None:
    assert limit([figures(), figures(rate=8000, late=7)]).startswith("not 8000 an hour: 7 of 100 late")
    assert limit([figures(), figures(rate=8000)]) == "not reached at 8000 an hour"
