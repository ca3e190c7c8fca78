from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tasks.releases.records import Start
from tasks.rollout.start_report import start_before
from tests.support.releases import a_record


def a_start(second: int, took: float = 1.0, cause: str = "rollout") -> Start:
    at = datetime(2025, 1, 1, 0, 0, second, tzinfo=UTC)
    return Start(at=at, cause=cause, phases={"weights": took})


@pytest.mark.parametrize(
    ("own", "other", "before"),
    [
        ([], [], None),
        ([], [a_start(1), a_start(2)], a_start(2)),
        ([a_start(1)], [a_start(2)], a_start(1)),  # its own is more like it than another release's
        (
            [a_start(5)],
            [a_start(2)],
            a_start(2),
        ),  # the start itself, and one that came after, are not before it
        ([a_start(7)], [], None),
        ([a_start(1), a_start(2, cause="wake")], [], a_start(1)),
        ([a_start(1, cause="wake")], [a_start(2)], a_start(1, cause="wake")),
    ],
)
def test_a_start_is_held_against_the_last_one_before_it(
    own: list[Start], other: list[Start], before: Start | None
) -> None:
    record = a_record(1).model_copy(update={"starts": tuple(own)})
    another = a_record(2).model_copy(update={"starts": tuple(other)})
    assert start_before(a_start(5), record, another) == before


def test_where_no_release_served_before_there_is_nothing_to_hold_it_against() -> None:
    assert start_before(a_start(5), a_record(1), None) is None
