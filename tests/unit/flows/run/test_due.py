"""The times at which models are to be woken."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from flows.run.due import due, has_come
from tasks.records.model import WakeTime
from tests.support.builders import a_model

SECOND = timedelta(seconds=1)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("cron", "timezone", "time"),
    [
        ("30 7 * * mon-fri", "UTC", "2026-11-30T07:30"),
        ("30 7 * * mon-fri", "Europe/Berlin", "2026-11-30T06:30"),
        ("30 7 * * *", "Europe/Berlin", "2026-07-06T05:30"),  # in summer
        ("30 7 * * *", "America/New_York", "2026-11-30T12:30"),
    ],
)
def test_a_time_comes_once_and_in_its_own_timezone(cron: str, timezone: str, time: str) -> None:
    wake, there = WakeTime(cron=cron, timezone=timezone), at(time)
    assert has_come(wake, there - SECOND, there)
    assert not has_come(wake, there, there + SECOND)
    assert not has_come(wake, there - 2 * SECOND, there - SECOND)


def test_on_a_day_that_is_not_named_no_time_comes() -> None:
    sunday = at("2026-11-29T00:00")
    assert not has_come(WakeTime(cron="30 7 * * mon-fri", timezone="UTC"), sunday, sunday + timedelta(days=1))


def test_a_model_without_a_time_is_never_due() -> None:
    day = at("2026-11-30T00:00")
    sleeper = a_model()
    early = a_model(name="early", scaling={"wake": {"cron": "30 7 * * *"}})
    late = a_model(name="late", scaling={"wake": {"cron": "30 9 * * *"}})
    assert due([sleeper, early, late], day, day + timedelta(hours=8)) == [early]
    assert due([sleeper, early, late], day, day + timedelta(days=1)) == [early, late]
