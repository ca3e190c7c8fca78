from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.records.load import Load
from tasks.records.objectives import EachRequest
from tasks.validation.load.arrivals import Arrival, arrivals, cut_to_context, draw
from tasks.validation.load.instructions import Lengths
from tasks.validation.load.sources import TraceRow
from tasks.validation.proof import instructions_for


def a_load(**over: Any) -> Load:
    return Load.model_validate({"rate": 20.0, "warmup": 10, "window": 100, "seed": 7} | over)


def schedule(load: Load, rows: tuple[TraceRow, ...] = ()) -> list[Arrival]:
    return arrivals(instructions_for(load, "http://llm/v1", "llama", each=EachRequest()), rows)


def gaps(load: Load) -> list[float]:
    times = [0.0, *(arrival.due for arrival in schedule(load))]
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
    found = schedule(a_load(rate=rate, window=190))
    assert abs(len(found) - rate * 200) < 4 * math.sqrt(
        rate * 200
    )  # four standard deviations of a Poisson count


def test_constant_arrivals_are_evenly_apart() -> None:
    found = gaps(a_load(arrivals="constant"))
    assert found == pytest.approx([0.05] * len(found))
    assert len(found) == pytest.approx(2200, abs=1)


@pytest.mark.parametrize("kind", ["poisson", "constant"])
def test_the_warm_up_is_sent_and_not_counted(kind: str) -> None:
    found = schedule(a_load(arrivals=kind))
    assert {arrival.counted for arrival in found if arrival.due < 10} == {False}
    assert {arrival.counted for arrival in found if arrival.due >= 10} == {True}
    assert max(arrival.due for arrival in found) < 110


def test_without_warm_up_everything_counts() -> None:
    assert all(arrival.counted for arrival in schedule(a_load(warmup=0)))


def test_the_same_seed_is_the_same_load() -> None:
    assert schedule(a_load()) == schedule(a_load())
    assert schedule(a_load()) != schedule(a_load(seed=8))


def test_a_longer_window_continues_the_same_load() -> None:
    short = schedule(a_load(window=50))
    assert schedule(a_load(window=100))[: len(short)] == short


@given(
    mean=st.floats(1, 4000), stdev=st.floats(0, 2000), minimum=st.integers(1, 100), more=st.integers(0, 8000),
    seed=st.integers(0, 99),
)  # fmt: skip
def test_lengths_stay_within_their_bounds(
    mean: float, stdev: float, minimum: int, more: int, seed: int
) -> None:
    import random

    lengths = Lengths(mean=mean, stdev=stdev, minimum=minimum, maximum=minimum + more)
    assert minimum <= draw(lengths, random.Random(seed)) <= minimum + more


def test_lengths_are_spread_as_asked() -> None:
    load = a_load(rate=100, prompt_tokens={"mean": 256, "stdev": 64})
    drawn = [arrival.prompt_words for arrival in schedule(load)]
    mean = sum(drawn) / len(drawn)
    deviation = math.sqrt(sum((one - mean) ** 2 for one in drawn) / len(drawn))
    assert mean == pytest.approx(256, rel=0.02)
    assert deviation == pytest.approx(64, rel=0.05)


def test_a_length_without_spread_is_its_mean() -> None:
    assert {a.output_tokens for a in schedule(a_load(output_tokens={"mean": 24}))} == {24}


@pytest.mark.parametrize(
    ("load", "says"),
    [
        ({"arrivals": "closed", "rate": 5}, "take concurrency, and no rate"),
        ({"arrivals": "closed"}, "take concurrency"),
        ({"arrivals": "poisson"}, "take rate"),
        ({"rate": 5, "concurrency": 2}, "no concurrency"),
        ({"rate": 5, "stages": [{"rate": 1, "seconds": 5}]}, "rate or stages"),
        ({"stages": [{"rate": 1, "seconds": 5}], "window": 9}, "the stages take 5 s"),
        ({"stages": [{"rate": 1, "seconds": 0}]}, "greater than 0"),
        ({"ramp_to": 5}, "take rate or stages"),
        ({"arrivals": "closed", "concurrency": 2, "ramp_to": 5}, "ramp_to rises from rate"),
        ({"arrivals": "trace"}, "trace arrivals take trace"),
        ({"rate": 5, "trace": {"file": "x.csv"}}, "trace arrivals take trace"),
        ({"arrivals": "trace", "rate": 5, "trace": {"file": "x.csv"}}, "brings its own arrivals"),
        ({"rate": 1000, "window": "1h"}, "more than 2,000,000 requests"),
    ],
)
def test_a_load_without_its_size_is_refused(load: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Load.model_validate(load)


def rate_between(load: Load, begin: float, end: float) -> float:
    return sum(begin <= arrival.due < end for arrival in schedule(load)) / (end - begin)


def test_a_ramp_rises_evenly_from_one_rate_to_the_other() -> None:
    load = a_load(arrivals="constant", rate=10.0, ramp_to=50.0, warmup=10, window=100)
    assert rate_between(load, 0, 10) == pytest.approx(10, abs=0.2)
    for second in (10, 35, 60, 85, 105):
        expected = 10 + 40 * (second + 2.5 - 10) / 100
        assert rate_between(load, second, second + 5) == pytest.approx(expected, abs=0.6)
    assert load.offered_rate == 30.0


def test_a_poisson_ramp_is_a_poisson_process_of_its_rate() -> None:
    """Taken back through the rate's course, gaps are exponential of mean one."""
    load = a_load(rate=20.0, ramp_to=80.0, warmup=0, window=100)
    counts = [20 * a.due + 0.5 * 0.6 * a.due**2 for a in schedule(load)]
    steps = sorted(later - earlier for earlier, later in pairwise([0.0, *counts]))
    distance = max(abs((n + 0.5) / len(steps) - (1 - math.exp(-step))) for n, step in enumerate(steps))
    assert len(steps) > 4500
    assert distance < 1.628 / math.sqrt(len(steps))


def test_a_ramp_may_fall() -> None:
    load = a_load(arrivals="constant", rate=50.0, ramp_to=10.0, warmup=0, window=100)
    assert len(schedule(load)) == pytest.approx(3000, abs=2)
    assert rate_between(load, 90, 100) == pytest.approx(12, abs=0.5)


def test_stages_follow_each_other_and_make_the_window() -> None:
    load = Load.model_validate(
        {
            "arrivals": "constant",
            "warmup": 5,
            "stages": [{"rate": 5, "seconds": "10s"}, {"rate": 20, "seconds": "20s"}],
        }
    )
    assert load.window == 30
    assert load.offered_rate == pytest.approx(15)
    assert rate_between(load, 0, 15) == pytest.approx(5, abs=0.1)
    assert rate_between(load, 15, 35) == pytest.approx(20, abs=0.1)


def a_replay(**over: Any) -> Load:
    trace = {"file": "trace.csv"} | over.pop("trace", {})
    return Load.model_validate({"arrivals": "trace", "trace": trace, "warmup": 1, "window": 4} | over)


ROWS = tuple(TraceRow(float(n), 100 + n, 10 + n) for n in range(20))


def test_a_trace_brings_its_own_arrivals_and_lengths() -> None:
    found = schedule(a_replay(), ROWS)
    assert [(a.due, a.prompt_words, a.output_tokens, a.counted) for a in found] == [
        (0.0, 100, 10, False),
        (1.0, 101, 11, True),
        (2.0, 102, 12, True),
        (3.0, 103, 13, True),
        (4.0, 104, 14, True),
    ]


@pytest.mark.parametrize(
    ("trace", "due", "first"),
    [
        ({"speed": 2}, [n / 2 for n in range(10)], 100),
        ({"speed": 0.5}, [0.0, 2.0, 4.0], 100),
        ({"start": "10s"}, [0.0, 1.0, 2.0, 3.0, 4.0], 110),
        ({"start": "10s", "speed": 4}, [n / 4 for n in range(10)], 110),
    ],
)
def test_a_trace_is_sped_up_and_cut(trace: dict[str, Any], due: list[float], first: int) -> None:
    found = schedule(a_replay(trace=trace), ROWS)
    assert [a.due for a in found] == due
    assert found[0].prompt_words == first


@pytest.mark.parametrize(
    ("words", "tokens", "fits"),
    [
        (100, 100, (100, 100)),
        (900, 100, (868, 100)),  # 1000 less 32 for the template
        (5000, 50, (918, 50)),
        (5000, 5000, (484, 484)),
        (10, 5000, (10, 958)),
    ],
)
def test_a_request_is_cut_to_what_the_model_takes(words: int, tokens: int, fits: tuple[int, int]) -> None:
    [one] = schedule(a_replay(warmup=0, window=1), (TraceRow(0.0, words, tokens),))
    [found], cut = cut_to_context([one], 1000)
    assert (found.prompt_words, found.output_tokens) == fits
    assert cut == (fits != (words, tokens))
