"""How often the same release is called slower, and how often a slower one is found, by simulation."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import pytest

from tasks.records.pairs import PairSettings, Shift
from tasks.validation.pairs.decide import judge, shift_of

SETTINGS = PairSettings()
Seconds = list[float]
Noise = Callable[[random.Random], float]


def quiet(chance: random.Random) -> float:
    return chance.lognormvariate(0, 0.01)


def usual(chance: random.Random) -> float:
    return chance.lognormvariate(0, 0.04)


def spiky(chance: random.Random) -> float:
    """One answer in twenty takes three times as long: another's prefill, a garbage collection."""
    return chance.lognormvariate(0, 0.04) * (3 if chance.random() < 0.05 else 1)


def asked(
    seed: int, noise: Noise, slower: float = 0.0, pairs: int = SETTINGS.count
) -> tuple[Seconds, Seconds]:
    """Times of both releases: prompts differ in length, the machine gets slower by a half and back, both have noise."""
    chance = random.Random(seed)
    before, now = [], []
    for pair in range(pairs):
        common = chance.uniform(0.1, 1.0) * (1.25 - 0.25 * math.cos(2 * math.pi * pair / pairs))
        before.append(common * noise(chance))
        now.append(common * (1 + slower) * noise(chance))
    return before, now


def verdict(seed: int, noise: Noise, slower: float = 0.0, settings: PairSettings = SETTINGS) -> str:
    return judge(shift_of(*asked(seed, noise, slower, settings.count)), settings, "r1")[0]


@pytest.mark.parametrize("noise", [quiet, usual, spiky])
def test_the_same_release_is_seldom_called_slower(noise: Noise) -> None:
    """100 pairs of the same release: 5 false alarms or fewer."""
    assert sum(verdict(seed, noise) == "FAIL" for seed in range(100)) <= 5


def test_a_false_alarm_is_as_seldom_as_the_interval_says_where_nothing_slower_is_allowed() -> None:
    strict = PairSettings(slower=0)
    assert sum(verdict(seed, usual, settings=strict) == "FAIL" for seed in range(100)) <= 5


@pytest.mark.parametrize("noise", [quiet, usual, spiky])
def test_a_slowdown_of_five_percent_is_found(noise: Noise) -> None:
    """100 pairs of which the newer is 5 % slower: found in 95 or more."""
    assert sum(verdict(seed, noise, slower=0.05) == "FAIL" for seed in range(100)) >= 95


def test_an_interval_holds_the_truth_as_often_as_it_says() -> None:
    shifts = [shift_of(*asked(seed, usual, slower=0.05)) for seed in range(100)]
    assert sum(one is not None and one.low <= 0.05 <= one.high for one in shifts) >= 95


def test_noise_as_large_as_a_fifth_is_told_and_not_judged() -> None:
    def loud(chance: random.Random) -> float:
        return chance.lognormvariate(0, 0.3)

    found = [verdict(seed, loud) for seed in range(40)]
    assert found.count("INCONCLUSIVE") >= 36
    assert found.count("FAIL") <= 2


def test_a_hundredth_of_answers_that_hang_moves_nothing() -> None:
    before, now = asked(1, quiet)
    for pair in (10, 150):
        now[pair] = 60.0
    shift = shift_of(before, now)
    assert shift
    assert abs(shift.estimate) < 0.005


def test_too_few_pairs_have_no_interval() -> None:
    assert shift_of([1.0] * 3, [1.1] * 3) is None
    assert judge(None, SETTINGS, "r1")[0] == "INCONCLUSIVE"
    enough = shift_of([1.0] * 40, [1.1] * 40)
    assert enough
    assert [enough.estimate, enough.low, enough.high] == pytest.approx([0.1] * 3)


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (0.021, 0.08, "FAIL"),
        (0.019, 0.03, "PASS"),
        (-0.01, 0.01, "PASS"),
        (-0.2, -0.1, "PASS"),
        (-0.05, 0.05, "INCONCLUSIVE"),
    ],
)
def test_only_a_whole_interval_beyond_the_limit_fails(low: float, high: float, said: str) -> None:
    shift = Shift(estimate=(low + high) / 2, low=low, high=high, pairs=200)
    found, why = judge(shift, SETTINGS, "r1")
    assert found == said
    assert "release r1" in why
