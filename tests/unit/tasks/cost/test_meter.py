from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tasks.cloud.instances import Instance
from tasks.cost.meter import KEPT, Meter

START = datetime(2026, 11, 30, tzinfo=UTC)
GPU = "g5.2xlarge"


def at(minutes: float) -> datetime:
    return START + timedelta(minutes=minutes)


def instance(
    number: int, launched: float, *, runs: bool = True, ended: float | None = None, kind: str = GPU
) -> Instance:
    return Instance(
        f"i-{number}", kind, at(launched), runs, spot=False, ended_at=None if ended is None else at(ended)
    )


def test_an_instance_counts_from_its_launch_until_now() -> None:
    meter = Meter().after([instance(1, 0), instance(2, 5, kind="m6i.large")], at(10))
    assert meter.seconds(at(-60), at(10)) == {GPU: 600, "m6i.large": 300}
    assert meter.began_at == at(0)


def test_one_that_ended_counts_until_ec2_says_it_ended_though_it_is_forgotten_later() -> None:
    meter = Meter().after([instance(1, 0)], at(10))
    meter = meter.after([instance(1, 0, runs=False, ended=12)], at(20))
    meter = meter.after([], at(70))
    assert meter.seconds(at(0), at(70)) == {GPU: 720}
    assert not meter.at_least(at(0), at(70))


@pytest.mark.parametrize("seen", [[], [instance(1, 0, runs=False)]])
def test_an_end_that_nobody_knows_is_the_last_time_it_was_seen_and_said_to_be_at_least(
    seen: list[Instance],
) -> None:
    meter = Meter().after([instance(1, 0)], at(10)).after(seen, at(30))
    assert meter.seconds(at(0), at(30)) == {GPU: 600}
    assert meter.at_least(at(0), at(30))
    assert not meter.at_least(at(15), at(30))


def test_a_time_without_a_look_that_ec2_does_not_remember_is_said() -> None:
    meter = Meter().after([], at(0)).after([], at(50)).after([], at(200))
    assert meter.gaps == ((at(50), at(200)),)
    assert meter.at_least(at(0), at(100))
    assert not meter.at_least(at(0), at(40))


def test_the_same_look_twice_changes_nothing() -> None:
    seen = [instance(1, 0), instance(2, 1, runs=False, ended=4)]
    once = Meter().after(seen, at(10))
    assert once.after(seen, at(10)) == once


def test_what_ended_long_ago_is_forgotten() -> None:
    meter = Meter().after([instance(1, 0, runs=False, ended=4)], at(5))
    later = START + KEPT + timedelta(minutes=10)
    assert meter.after([], later).machines == ()


@pytest.mark.parametrize(
    ("wanted", "seconds"),
    [
        (0, 0),
        # no instance for ten minutes, and after its end for twenty
        (1, 600 + 1200),
        # and one is missing of two while one runs
        (2, 2 * (600 + 1200) + 1800),
    ],
)
def test_fewer_instances_than_wanted_are_added_up(wanted: int, seconds: float) -> None:
    seen = [instance(1, 10, runs=False, ended=40), instance(2, 0, kind="m6i.large")]
    meter = Meter().after(seen, at(60))
    assert meter.below([GPU], wanted, at(0), at(60)) == seconds
