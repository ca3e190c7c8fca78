"""When each request is due and how long it is: drawn once from a seed, before anything is sent. Pure."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from tasks.spec.model import LengthDistribution, Load

# Short common English words: one token each in the vocabularies of the models people serve. The truth is
# the server's own count (usage.prompt_tokens).
WORDS = [
    "the",
    "of",
    "and",
    "to",
    "in",
    "is",
    "you",
    "that",
    "it",
    "he",
    "was",
    "for",
    "on",
    "are",
    "as",
    "with",
    "his",
    "they",
    "at",
    "be",
    "this",
    "have",
    "from",
    "or",
    "one",
    "had",
    "by",
    "word",
    "but",
    "not",
    "what",
    "all",
    "were",
    "we",
    "when",
    "your",
    "can",
    "said",
    "there",
    "use",
    "an",
    "each",
    "which",
    "she",
    "do",
    "how",
    "their",
    "if",
    "will",
    "up",
    "other",
    "about",
    "out",
    "many",
    "then",
    "them",
    "these",
    "so",
    "some",
    "her",
    "would",
    "make",
    "like",
    "him",
    "into",
    "time",
    "has",
    "look",
    "two",
    "more",
    "write",
    "go",
    "see",
    "number",
    "no",
    "way",
    "could",
    "people",
    "my",
    "than",
    "first",
    "water",
    "been",
    "call",
    "who",
    "oil",
    "its",
    "now",
    "find",
    "long",
    "down",
    "day",
    "did",
]


@dataclass(frozen=True)
class Arrival:
    """`due` in seconds from the start; `counted` is False in the warm-up."""

    due: float
    prompt_words: int
    output_tokens: int
    counted: bool


def arrivals(load: Load) -> list[Arrival]:
    """Warm-up and window at one rate. Poisson: exponential gaps; constant: equal ones. Empty for closed arrivals:
    there the answers decide when the next request is due (`lengths`)."""
    if load.rate is None:
        return []
    chance = random.Random(load.seed)  # noqa: S311  a reproducible load, not a secret
    schedule: list[Arrival] = []
    at = 0.0
    end = load.warmup + load.window
    while True:
        at += chance.expovariate(load.rate) if load.arrivals == "poisson" else 1 / load.rate
        if at >= end:
            return schedule
        schedule.append(
            Arrival(
                due=at,
                prompt_words=draw(load.prompt_tokens, chance),
                output_tokens=draw(load.output_tokens, chance),
                counted=at >= load.warmup,
            )
        )


def lengths(load: Load) -> Iterator[tuple[int, int]]:
    """(prompt words, output tokens) of one request after another, without end."""
    chance = random.Random(load.seed)  # noqa: S311
    while True:
        yield draw(load.prompt_tokens, chance), draw(load.output_tokens, chance)


def draw(lengths: LengthDistribution, chance: random.Random) -> int:
    drawn = round(chance.gauss(lengths.mean, lengths.stdev)) if lengths.stdev else round(lengths.mean)
    return max(lengths.minimum, min(lengths.maximum, drawn))


def prompt(words: int, index: int, seed: int) -> str:
    """Text of so many words, different for every request so that a prefix cache does not answer for it."""
    chance = random.Random(seed * 1_000_003 + index)  # noqa: S311
    return " ".join(chance.choices(WORDS, k=words))
