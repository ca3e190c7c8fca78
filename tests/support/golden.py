"""Answers to golden prompts as an engine would give them, made from a seed: what a model chooses, and its noise."""

from __future__ import annotations

import random

from tasks.records.answers import Answer, Answered
from tasks.validation.answers.asking import packed


def an_answer(
    chance: random.Random, tokens: list[str], *, flip: float = 0.0, jitter: float = 0.0, shift: float = 0.0
) -> Answer:
    """`flip`: chance that a token is another one, after which all are; `jitter`: deviation of log-probabilities in nats."""
    said, other = [], False
    for token in tokens:
        other = other or chance.random() < flip
        said.append(f"{token}{chance.randrange(10**6)}" if other else token)
    logprobs = [-(sum(map(ord, token)) % 30) / 10 - shift + chance.gauss(0, jitter) for token in tokens]
    return Answer(text=" ".join(said), tokens=tuple(said), logprobs=tuple(logprobs))


def answered_by(
    seed: int,
    *,
    prompts: int = 16,
    tokens: int = 48,
    flip: float = 0.0,
    jitter: float = 0.0,
    shift: float = 0.0,
    model: int = 0,
) -> list[Answered]:
    """What a release answers; `model` decides the tokens, `seed` the noise of this run."""
    chance = random.Random(seed)
    found = []
    for number in range(prompts):
        own = random.Random(f"{model} {number}")
        chosen = [str(own.randrange(10**6)) for _ in range(tokens)]
        first, again = (an_answer(chance, chosen, flip=flip, jitter=jitter, shift=shift) for _ in range(2))
        found.append(Answered(name=f"p{number}", answers=(first, again)))
    return found


def embedded_by(
    seed: int,
    *,
    texts: int = 16,
    dimensions: int = 64,
    jitter: float = 0.0,
    turn: float = 0.0,
    model: int = 0,
) -> list[Answered]:
    """Vectors of a release. `jitter`: deviation of each number of a vector of length one; `turn`: of the model's own change."""
    chance, found = random.Random(seed), []
    for number in range(texts):
        own, change = random.Random(f"{model} {number}"), random.Random(f"turn {number}")
        size = dimensions**-0.5
        chosen = [own.gauss(0, size) + change.gauss(0, turn) for _ in range(dimensions)]
        first, again = (
            Answer(vector=packed([number + chance.gauss(0, jitter) for number in chosen])) for _ in range(2)
        )
        found.append(Answered(name=f"p{number}", answers=(first, again)))
    return found


def scored_by(seed: int, *, jitter: float = 0.0, shift: float = 0.0, model: int = 0) -> list[Answered]:
    """Scores of a release for three documents a query."""
    chance, found = random.Random(seed), []
    for number in range(12):
        own = random.Random(f"{model} {number}")
        chosen = [own.random() + shift for _ in range(3)]
        first, again = (
            Answer(scores=tuple(one + chance.gauss(0, jitter) for one in chosen)) for _ in range(2)
        )
        found.append(Answered(name=f"p{number}", answers=(first, again)))
    return found
