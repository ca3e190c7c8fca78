"""Which models' times to be woken lie in a span of time. Pure."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta

from prefect.server.schemas.schedules import CronSchedule

from tasks.records.model import Model, WakeTime


def due(models: Sequence[Model], after: datetime, until: datetime) -> list[Model]:
    """Those whose `scaling.wake` names a time after `after` and not after `until`."""
    return [one for one in models if one.scaling.wake and has_come(one.scaling.wake, after, until)]


def has_come(wake: WakeTime, after: datetime, until: datetime) -> bool:
    """Whether one of its times is after `after` and not after `until`, as Prefect's own scheduler reckons them."""
    schedule = CronSchedule(cron=wake.cron, timezone=wake.timezone)
    # get_dates counts `start` in
    found = asyncio.run(schedule.get_dates(1, start=after + timedelta(microseconds=1), end=until))
    return bool(found)
