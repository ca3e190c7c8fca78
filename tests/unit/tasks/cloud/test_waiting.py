"""Waiting by a clock that only moves while somebody sleeps."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tasks.cloud.waiting import REAL, Time, changes, until, until_none
from tasks.records.errors import ClusterError, Interrupted
from tasks.records.stop import STOP
from tests.support.clock import Clock
from tests.support.heard import Heard


def late() -> ClusterError:
    return ClusterError("too late")


def by(clock: Clock) -> Time:
    return Time(clock, clock.sleep)


def test_what_is_there_already_is_returned_without_a_sleep(clock: Clock) -> None:
    assert until(lambda: "here", 10.0, late, by(clock)) == "here"
    assert clock.slept == []


@pytest.mark.parametrize("found", [[], 0, "", {}])
def test_what_is_empty_is_still_something(found: object, clock: Clock) -> None:
    assert until(lambda: found, 10.0, late, by(clock)) is found


@pytest.mark.parametrize("nothing", [None, False])
def test_it_looks_again_until_there_is_something(nothing: bool | None, clock: Clock) -> None:
    answers = iter([nothing, nothing, True])
    assert until(lambda: next(answers), 10.0, late, by(clock), every=2.0)
    assert clock.slept == [2.0, 2.0]


def test_it_raises_at_the_deadline_and_not_before(clock: Clock) -> None:
    with pytest.raises(ClusterError, match="too late"):
        until(lambda: None, 1.0, late, by(clock))
    assert sum(clock.slept) == 1.0


def test_it_looks_once_where_no_time_is_left(clock: Clock) -> None:
    assert until(lambda: 1, 0.0, late, by(clock)) == 1
    with pytest.raises(ClusterError):
        until(lambda: None, 0.0, late, by(clock))
    assert clock.slept == []


def test_what_the_look_raises_comes_through(clock: Clock) -> None:
    def look() -> None:
        raise ValueError("seen")

    with pytest.raises(ValueError, match="seen"):
        until(look, 10.0, late, by(clock))


def test_nothing_left_ends_the_wait(clock: Clock) -> None:
    left = [["a", "b"], ["b"], []]
    until_none(lambda: left.pop(0), 10.0, lambda seen: ClusterError(str(seen)), by(clock))
    assert not left


def test_the_error_is_made_of_what_was_left_at_the_last_look(clock: Clock) -> None:
    looks = iter([["a", "b"], *(["b"] for _ in range(9))])
    with pytest.raises(ClusterError, match="left") as caught:
        until_none(lambda: next(looks), 1.0, lambda seen: ClusterError("left", evidence=seen), by(clock))
    assert caught.value.evidence == ("b",)


def test_a_line_that_repeats_the_last_is_not_said_again(heard: Heard) -> None:
    say = changes(heard.say)
    for line in ("a", "a", "b", "b", "a"):
        say(line)
    assert heard.lines == ["a", "b", "a"]


@pytest.fixture
def interrupted() -> Iterator[None]:
    STOP.set()
    yield
    STOP.clear()


@pytest.mark.usefixtures("interrupted")
def test_ctrl_c_ends_a_real_wait() -> None:
    began = time.monotonic()
    with pytest.raises(Interrupted):
        until(lambda: None, 60.0, late, REAL)
    assert time.monotonic() - began < 30.0
