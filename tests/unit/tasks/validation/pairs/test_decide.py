"""How often the same release is called slower, and how often a slower one is found, by simulation."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Callable

import pytest

from tasks.records.pairs import PairSettings, Shift
from tasks.validation.pairs.decide import judge, shift_of
from tasks.validation.pairs.interval import FACTORS, interval_of

SETTINGS = PairSettings()
Seconds = list[float]
Noise = Callable[[random.Random], float]


def quiet(chance: random.Random) -> float:
    return chance.lognormvariate(0, 0.01)


def usual(chance: random.Random) -> float:
    return chance.lognormvariate(0, 0.04)


def busy(chance: random.Random) -> float:
    """As was measured on two cores with a load of 11, of a stand-in's answers of 0.1 s: log ratios of pairs have 0.10 to 0.13."""
    return chance.lognormvariate(0, 0.085) * (1.4 if chance.random() < 0.03 else 1)


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


def looked_at(
    seed: int, noise: Noise, slower: float = 0.0, settings: PairSettings = SETTINGS
) -> tuple[str, int]:
    """The verdict, and after how many pairs, where more are asked as long as they do not tell."""
    before, now = asked(seed, noise, slower, settings.count * FACTORS[-1])
    for factor in FACTORS:
        count = settings.count * factor
        found = interval_of(before[:count], now[:count])
        assert found
        if found.settles(settings.slower):
            break
    return judge(shift_of(before[:count], now[:count]), settings, "r1")[0], count


def verdict(seed: int, noise: Noise, slower: float = 0.0, settings: PairSettings = SETTINGS) -> str:
    return looked_at(seed, noise, slower, settings)[0]


@pytest.mark.parametrize("noise", [quiet, usual, spiky, busy])
def test_the_same_release_is_seldom_called_slower(noise: Noise) -> None:
    """100 pairs of the same release: 5 false alarms or fewer."""
    assert sum(verdict(seed, noise) == "FAIL" for seed in range(100)) <= 5


@pytest.mark.parametrize(("noise", "most"), [(quiet, 1.0), (usual, 1.2)])
def test_where_answers_repeat_their_times_no_more_pairs_are_asked(noise: Noise, most: float) -> None:
    counts = [looked_at(seed, noise)[1] for seed in range(50)]
    assert sum(counts) / 50 <= most * SETTINGS.count


def test_the_interval_is_of_all_means_of_two() -> None:
    before, now = asked(3, usual, slower=0.03, pairs=60)
    ratios = [math.log(new / old) for old, new in zip(before, now, strict=True)]
    means = sorted((one + other) / 2 for n, one in enumerate(ratios) for other in ratios[n:])
    found = interval_of(before, now)
    assert found
    ends = [math.log1p(end) for end in (found.low, found.high)]
    below, above = (
        sum(mean < ends[0] - 1e-12 for mean in means),
        sum(mean > ends[1] + 1e-12 for mean in means),
    )
    assert below == above > 0
    assert [means[below], means[-1 - above]] == pytest.approx(ends, abs=1e-12)
    assert math.log1p(found.estimate) == pytest.approx(statistics.median(means), abs=1e-12)


def test_a_false_alarm_is_as_seldom_as_the_interval_says_where_nothing_slower_is_allowed() -> None:
    strict = PairSettings(slower=0, count=60)
    assert sum(verdict(seed, usual, settings=strict) == "FAIL" for seed in range(100)) <= 5


@pytest.mark.parametrize("noise", [quiet, usual, spiky, busy])
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
