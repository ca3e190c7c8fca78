"""Answers to golden prompts as an engine would give them, made from a seed: what a model chooses, and its noise."""

from __future__ import annotations

import random

from tasks.records.answers import Answer, Answered


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
