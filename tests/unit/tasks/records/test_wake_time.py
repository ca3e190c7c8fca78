"""Times to wake a model that are refused with its file, before a schedule is made of them."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from tasks.records.model import WakeTime


@pytest.mark.parametrize(
    ("cron", "said"),
    [
        ("99 7 * * *", "names no time: Bad minute"),
        ("30 7 * * someday", "names no time: Bad day-of-week"),
        ("30 7 31 4,6 *", "names no time: Bad day-of-month"),
    ],
)
def test_a_time_that_is_none_is_refused(cron: str, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        WakeTime(cron=cron)


def test_a_timezone_nobody_knows_is_refused() -> None:
    with pytest.raises(ValidationError, match="there is no timezone Europe/Bielefeld"):
        WakeTime(cron="30 7 * * mon-fri", timezone="Europe/Bielefeld")
