"""Fast snapshot restore: what is switched, how long it is waited for, what is said, and what EC2 refuses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from tasks.cache.fast_restore import FastRestore, Switching, credits, decide, ready_seconds
from tasks.cloud.aws import Aws
from tasks.cloud.ebs import Ebs, EbsPrices, unsuccessful
from tasks.cloud.waiting import Time
from tests.support.clock import Clock
from tests.support.heard import Heard


@pytest.mark.parametrize(
    ("states", "wanted", "step"),
    [
        ({}, [], "done"),
        ({}, ["a"], "switch"),
        ({"a": "enabling"}, ["a"], "wait"),
        ({"a": "optimizing"}, ["a"], "wait"),
        ({"a": "enabled"}, ["a"], "done"),
        ({"a": "enabled"}, [], "switch"),
        ({"a": "disabling"}, [], "done"),
        ({"a": "disabling"}, ["a"], "wait"),
        ({"a": "enabled", "b": "optimizing"}, ["a"], "switch"),
        ({"b": "disabling", "a": "enabled"}, ["a"], "done"),
    ],
)
def test_fast_restore_is_switched_where_it_is_not_as_wished_and_waited_for(
    states: dict[str, str], wanted: list[str], step: Switching
) -> None:
    assert decide(states, wanted) == step


@pytest.mark.parametrize(
    ("gib", "at_once", "hourly"), [(3, 10, 10.0), (128, 8, 8.0), (600, 1, 1024 / 600), (2048, 1, 0.5)]
)
def test_a_fast_restore_has_credits_by_its_size(gib: int, at_once: int, hourly: float) -> None:
    assert credits(gib) == (at_once, hourly)


def test_the_time_a_fast_restore_may_take_follows_from_its_size() -> None:
    assert ready_seconds(1024) == 60 + 2 * 3600


def test_what_ec2_refuses_of_a_fast_restore_is_read_from_its_answer() -> None:
    error = {"AvailabilityZone": "a", "Error": {"Code": "LimitExceeded", "Message": "no more"}}
    answer = {"Unsuccessful": [{"SnapshotId": "snap-1", "FastSnapshotRestoreStateErrors": [error]}]}
    assert unsuccessful(answer) == ["a: LimitExceeded: no more"]
    assert unsuccessful({"Successful": [{}], "Unsuccessful": []}) == []


@dataclass(frozen=True)
class Told(Ebs):
    """EC2 with these answers one after another, the last for ever; it remembers what it was asked to switch."""

    answers: Sequence[dict[str, str]] = ()
    switched: list[tuple[Sequence[str], Sequence[str]]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def fast_restores(self, snapshot: str) -> dict[str, str]:
        self.asked.append(snapshot)
        return dict(self.answers[min(len(self.asked), len(self.answers)) - 1])

    def set_fast_restore(self, snapshot: str, on: Sequence[str], off: Sequence[str]) -> None:
        self.switched.append((on, off))


def converge(gib: int, zones: list[str], *answers: dict[str, str]) -> tuple[Told, Heard, Clock]:
    ebs = Told(Aws("us-east-1"), EbsPrices(fast_restore_hour=0.75), None, answers)
    heard, clock = Heard(), Clock(0.0)
    FastRestore(ebs, heard, Time(clock, clock.sleep)).converge("s", "snap-1", gib, zones)
    return ebs, heard, clock


def test_each_state_is_said_once_until_it_is_ready() -> None:
    optimizing = {"z": "optimizing"}
    ebs, heard, _ = converge(600, ["z"], {"z": "enabling"}, optimizing, optimizing, {"z": "enabled"})
    assert heard.lines == [
        "fast restore of s: enabling in z (at most 1 h 11 min)",
        "fast restore of s: optimizing in z (at most 1 h 11 min)",
        "fast restore of s is ready: 1 clones at once, 1.7 more an hour; those beyond are lazy",
    ]
    assert ebs.switched == []


def test_it_is_switched_once_also_where_ec2_is_slow_to_say_so() -> None:
    ebs, heard, _ = converge(3, ["z"], {}, {}, {}, {"z": "enabled"})
    assert ebs.switched == [(["z"], [])]
    assert heard.lines[0] == "fast restore of s in z is switched on: 547.50 USD a month, as long as it is"


def test_after_its_time_the_clones_are_made_all_the_same_and_it_is_said_why() -> None:
    ebs, heard, clock = converge(1024, ["z"], {"z": "optimizing"})
    assert ready_seconds(1024) <= clock.now < ready_seconds(1024) + 5
    assert "is not ready after 2 h 1 min (optimizing in z): clones are made all the same" in heard.lines[-1]
    assert ebs.switched == []


def test_where_it_is_not_wanted_any_more_it_is_switched_off() -> None:
    ebs, heard, _ = converge(3, [], {"a": "enabled", "b": "optimizing"}, {"a": "disabling"})
    assert ebs.switched == [([], ["a", "b"])]
    assert heard.lines == ["fast restore of s in a, b is switched off: it was billed"]
