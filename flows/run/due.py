"""Which models' times to be woken lie in a span of time. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

from cronsim import CronSim

from tasks.records.model import Model, WakeTime


def due(models: Sequence[Model], after: datetime, until: datetime) -> list[Model]:
    """Those whose `scaling.wake` names a time after `after` and not after `until`."""
    return [one for one in models if one.scaling.wake and has_come(one.scaling.wake, after, until)]


def has_come(wake: WakeTime, after: datetime, until: datetime) -> bool:
    """Whether one of its times is after `after` and not after `until`.

    Prefect's scheduler reckons by croniter, which differs in the hour that a change of clocks leaves out or repeats.
    """
    time = next(CronSim(wake.cron, after.astimezone(ZoneInfo(wake.timezone))), None)
    return time is not None and time <= until
