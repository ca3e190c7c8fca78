"""When each request is due and how long it is: drawn once from a seed, before anything is sent. Pure."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

from tasks.records.model import LengthDistribution, Load
from tasks.validation.sources import TraceRow

TEMPLATE_TOKENS = 32  # left for what a chat template adds to a prompt


@dataclass(frozen=True, slots=True)
class Arrival:
    """`due` in seconds from the start; `counted` is False in the warm-up."""

    due: float
    prompt_words: int
    output_tokens: int
    counted: bool


def arrivals(load: Load, rows: tuple[TraceRow, ...] = ()) -> list[Arrival]:
    """Warm-up and window. Empty for closed arrivals: there the answers decide when the next request is due (`lengths`).

    Poisson and constant arrivals are steps of the expected count (exponential, or of one), taken back to time by the
    rate's course: so a ramp is a Poisson process too. `rows` are the trace's, for arrivals from a trace.
    """
    if load.arrivals == "closed":
        return []
    if load.arrivals == "trace":
        return replay(load, rows)
    chance = random.Random(load.seed)  # noqa: S311  a reproducible load, not a secret
    course = rate_course(load)
    schedule: list[Arrival] = []
    expected = 0.0
    while True:
        expected += chance.expovariate(1.0) if load.arrivals == "poisson" else 1.0
        at = when_expected(course, expected)
        if at is None:
            return schedule
        words, tokens = draw(load.prompt_tokens, chance), draw(load.output_tokens, chance)
        schedule.append(Arrival(at, words, tokens, counted=at >= load.warmup))


def lengths(load: Load) -> Iterator[tuple[int, int]]:
    """(prompt words, output tokens) of one request after another, without end."""
    chance = random.Random(load.seed)  # noqa: S311
    while True:
        yield draw(load.prompt_tokens, chance), draw(load.output_tokens, chance)


def draw(lengths: LengthDistribution, chance: random.Random) -> int:
    drawn = round(chance.gauss(lengths.mean, lengths.stdev)) if lengths.stdev else round(lengths.mean)
    return max(lengths.minimum, min(lengths.maximum, drawn))


def rate_course(load: Load) -> list[tuple[float, float, float]]:
    """(seconds, rate at the beginning, rate at the end) one after another: warm-up, then the window."""
    if load.stages:
        steps = [(stage.seconds, stage.rate, stage.rate) for stage in load.stages]
    else:
        assert load.rate is not None  # noqa: S101  the record's own rule
        steps = [(load.window, load.rate, load.ramp_to or load.rate)]
    return [(load.warmup, steps[0][1], steps[0][1]), *steps]


def when_expected(course: list[tuple[float, float, float]], count: float) -> float | None:
    """The time by which `count` arrivals are expected; None where that is after the end."""
    began = 0.0
    for seconds, first, last in course:
        whole = seconds * (first + last) / 2
        if count < whole:
            slope = (last - first) / seconds
            if abs(slope) < 1e-12:
                return began + count / first
            return began + (math.sqrt(first * first + 2 * slope * count) - first) / slope
        count -= whole
        began += seconds
    return None


def replay(load: Load, rows: tuple[TraceRow, ...]) -> list[Arrival]:
    """A trace's own arrivals, `speed` times as fast, from `start` of it; as long as warm-up and window."""
    assert load.trace is not None  # noqa: S101  the record's own rule
    end = load.warmup + load.window
    schedule = []
    for row in rows:
        at = (row.seconds - load.trace.start) / load.trace.speed
        if 0 <= at < end:
            schedule.append(Arrival(at, row.context_tokens, row.generated_tokens, counted=at >= load.warmup))
    return schedule


def cut_to_context(schedule: list[Arrival], max_model_len: int) -> tuple[list[Arrival], int]:
    """No request longer than the model can take: the prompt is cut first, then the answer. How many were cut."""
    cut = [fitted(arrival, max_model_len) for arrival in schedule]
    return cut, sum(a is not b for a, b in zip(cut, schedule, strict=True))


def fitted(arrival: Arrival, max_model_len: int) -> Arrival:
    room = max(2, max_model_len - TEMPLATE_TOKENS)
    if arrival.prompt_words + arrival.output_tokens <= room:
        return arrival
    answer = min(arrival.output_tokens, max(1, room // 2, room - arrival.prompt_words))
    return replace(
        arrival, prompt_words=max(1, min(arrival.prompt_words, room - answer)), output_tokens=answer
    )
