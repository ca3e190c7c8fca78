from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.spec.model import LengthDistribution, Load
from tasks.validation.arrivals import arrivals, draw, prompt


def a_load(**over: Any) -> Load:
    return Load.model_validate({"rate": 20.0, "warmup": 10, "window": 100, "seed": 7} | over)


def gaps(load: Load) -> list[float]:
    times = [0.0, *(arrival.due for arrival in arrivals(load))]
    return [later - earlier for earlier, later in pairwise(times)]


def test_poisson_gaps_are_exponential() -> None:
    """Kolmogorov-Smirnov: the largest distance from 1 - exp(-rate x), against the bound for alpha = 1 %."""
    load = a_load(rate=50.0, window=200)
    found = sorted(gaps(load))
    count = len(found)
    distance = max(
        max((n + 1) / count - ideal, ideal - n / count)
        for n, gap in enumerate(found)
        for ideal in [1 - math.exp(-50.0 * gap)]
    )
    assert count > 5000
    assert distance < 1.628 / math.sqrt(count)


def test_a_gap_tells_nothing_about_the_next() -> None:
    found = gaps(a_load(rate=50.0, window=200))
    mean = sum(found) / len(found)
    moved = [gap - mean for gap in found]
    correlation = sum(a * b for a, b in pairwise(moved)) / sum(a * a for a in moved)
    assert abs(correlation) < 3 / math.sqrt(len(found))


@pytest.mark.parametrize("rate", [0.5, 20.0, 300.0])
def test_the_rate_is_the_one_asked_for(rate: float) -> None:
    found = arrivals(a_load(rate=rate, window=190))
    assert abs(len(found) - rate * 200) < 4 * math.sqrt(
        rate * 200
    )  # four standard deviations of a Poisson count


def test_constant_arrivals_are_evenly_apart() -> None:
    found = gaps(a_load(arrivals="constant"))
    assert found == pytest.approx([0.05] * len(found))
    assert len(found) == pytest.approx(2200, abs=1)


@pytest.mark.parametrize("kind", ["poisson", "constant"])
def test_the_warm_up_is_sent_and_not_counted(kind: str) -> None:
    found = arrivals(a_load(arrivals=kind))
    assert {arrival.counted for arrival in found if arrival.due < 10} == {False}
    assert {arrival.counted for arrival in found if arrival.due >= 10} == {True}
    assert max(arrival.due for arrival in found) < 110


def test_without_warm_up_everything_counts() -> None:
    assert all(arrival.counted for arrival in arrivals(a_load(warmup=0)))


def test_the_same_seed_is_the_same_load() -> None:
    assert arrivals(a_load()) == arrivals(a_load())
    assert arrivals(a_load()) != arrivals(a_load(seed=8))


def test_a_longer_window_continues_the_same_load() -> None:
    short = arrivals(a_load(window=50))
    assert arrivals(a_load(window=100))[: len(short)] == short


@given(
    mean=st.floats(1, 4000), stdev=st.floats(0, 2000), minimum=st.integers(1, 100), more=st.integers(0, 8000),
    seed=st.integers(0, 99),
)  # fmt: skip
def test_lengths_stay_within_their_bounds(
    mean: float, stdev: float, minimum: int, more: int, seed: int
) -> None:
    import random

    lengths = LengthDistribution(mean=mean, stdev=stdev, minimum=minimum, maximum=minimum + more)
    assert minimum <= draw(lengths, random.Random(seed)) <= minimum + more


def test_lengths_are_spread_as_asked() -> None:
    load = a_load(rate=100, prompt_tokens={"mean": 256, "stdev": 64})
    drawn = [arrival.prompt_words for arrival in arrivals(load)]
    mean = sum(drawn) / len(drawn)
    deviation = math.sqrt(sum((one - mean) ** 2 for one in drawn) / len(drawn))
    assert mean == pytest.approx(256, rel=0.02)
    assert deviation == pytest.approx(64, rel=0.05)


def test_a_length_without_spread_is_its_mean() -> None:
    assert {a.output_tokens for a in arrivals(a_load(output_tokens={"mean": 24}))} == {24}


def test_a_prompt_has_the_words_asked_for_and_no_other_request_has_it() -> None:
    assert len(prompt(40, 0, 1).split()) == 40
    assert prompt(40, 0, 1) == prompt(40, 0, 1)
    assert len({prompt(40, index, 1) for index in range(200)}) == 200
    assert prompt(40, 0, 2) != prompt(40, 0, 1)


def test_prompts_share_no_long_beginning() -> None:
    """A prefix cache works in blocks of 16 tokens: no two prompts may share their first one."""
    assert len({tuple(prompt(64, index, 1).split()[:16]) for index in range(2000)}) == 2000


@pytest.mark.parametrize(
    ("load", "says"),
    [
        ({"arrivals": "closed", "rate": 5}, "take concurrency, and no rate"),
        ({"arrivals": "closed"}, "take concurrency"),
        ({"arrivals": "poisson"}, "take rate"),
        ({"rate": 5, "concurrency": 2}, "no concurrency"),
    ],
)
def test_a_load_without_its_size_is_refused(load: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Load.model_validate(load)
