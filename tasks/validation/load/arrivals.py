"""Schedule of a load: when each request is due and how long it is, drawn from a seed before anything is sent. Pure."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from tasks.validation.load.instructions import Instructions, Lengths, Segment, Trace
from tasks.validation.load.sources import TraceRow

TEMPLATE_TOKENS = 32  # left for what a chat template adds to a prompt


@dataclass(frozen=True, slots=True)
class Arrival:
    """`due` in seconds from the start; `counted` is False in the warm-up."""

    due: float
    prompt_words: int
    output_tokens: int
    counted: bool


def arrivals(instructions: Instructions, rows: tuple[TraceRow, ...] = ()) -> list[Arrival]:
    """Schedule warm-up and window. Empty for a closed loop, where answers decide when the next request is due.

    Poisson and constant arrivals step through the expected count (exponential steps, or steps of one), which the segments
    map back to time: so a ramp is a Poisson process too. `rows`: the trace's, for arrivals from a trace.
    """
    if instructions.arrivals == "closed":
        return []
    if instructions.trace:
        return replay(instructions, instructions.trace, rows)
    chance = random.Random(instructions.seed)  # noqa: S311  a reproducible load, not a secret
    schedule: list[Arrival] = []
    expected = 0.0
    while True:
        expected += chance.expovariate(1.0) if instructions.arrivals == "poisson" else 1.0
        at = when_expected(instructions.segments, expected)
        if at is None:
            return schedule
        words, tokens = draw(instructions.prompt_tokens, chance), draw(instructions.output_tokens, chance)
        schedule.append(Arrival(at, words, tokens, counted=at >= instructions.warmup))


def lengths(instructions: Instructions) -> Iterator[tuple[int, int]]:
    """(prompt words, output tokens) of one request after another, without end."""
    chance = random.Random(instructions.seed)  # noqa: S311
    while True:
        yield draw(instructions.prompt_tokens, chance), draw(instructions.output_tokens, chance)


def draw(lengths: Lengths, chance: random.Random) -> int:
    drawn = round(chance.gauss(lengths.mean, lengths.stdev)) if lengths.stdev else round(lengths.mean)
    return max(lengths.minimum, min(lengths.maximum, drawn))


def when_expected(segments: Sequence[Segment], count: float) -> float | None:
    """The time by which `count` arrivals are expected; None where that is after the last segment."""
    began = 0.0
    for segment in segments:
        if count < segment.expected:
            first = segment.first_rate
            slope = (segment.last_rate - first) / segment.seconds
            if abs(slope) < 1e-12:
                return began + count / first
            return began + (math.sqrt(first * first + 2 * slope * count) - first) / slope
        count -= segment.expected
        began += segment.seconds
    return None


def replay(instructions: Instructions, trace: Trace, rows: tuple[TraceRow, ...]) -> list[Arrival]:
    """The trace's own arrivals from `start` on, `speed` times as fast; as long as warm-up and window."""
    end = instructions.warmup + instructions.window
    schedule = []
    for row in rows:
        at = (row.seconds - trace.start) / trace.speed
        if 0 <= at < end:
            schedule.append(
                Arrival(at, row.context_tokens, row.generated_tokens, counted=at >= instructions.warmup)
            )
    return schedule


def cut_to_context(schedule: list[Arrival], max_model_len: int) -> tuple[list[Arrival], int]:
    """Cut requests longer than the model's context, the prompt first, then the answer. Returns how many were cut, too."""
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
