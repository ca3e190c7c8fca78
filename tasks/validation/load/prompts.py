"""Prompts drawn from a seed, each with another beginning. Pure."""

from __future__ import annotations

import random
from array import array

# Short common English words: one token each in the vocabularies of the models people serve. The server's own count
# (usage.prompt_tokens) is what is reported.
COMMON = (
    "the of and to in is you that it he was for on are as with his they at be this have from or one had "
    "by word but not what all were we when your can said there use an each which she do how their if will "
    "up other about out many then them these so some her would make like him into time has look two more "
    "write go see number no way could people my than first water been call who oil its now find long down "
    "day did"
)
WORDS = COMMON.split()
TEXT_WORDS = 2**19  # as many different beginnings; one text of 2 MiB however long the load is
SPREAD = 0x9E3779B1  # odd: multiples of it modulo a power of two meet every beginning once


class Prompts:
    """Cuts prompts out of one long text, each at another place, so that no prefix cache answers for another request."""

    def __init__(self, seed: int, longest: int) -> None:
        chance = random.Random(seed)  # noqa: S311  a reproducible load, not a secret
        words = chance.choices(WORDS, k=TEXT_WORDS)
        words += words[:longest]  # the last beginnings have as much behind them as the first
        self._text = " ".join(words)
        self._starts = array("L", [0])
        at = 0
        for word in words:
            at += len(word) + 1
            self._starts.append(at)

    def text(self, words: int, index: int) -> str:
        """The prompt of request `index`, `words` long. Beginnings repeat after TEXT_WORDS requests."""
        first = index * SPREAD % TEXT_WORDS
        return self._text[self._starts[first] : self._starts[first + words] - 1]
