"""Paired upgrade: its settings in a model's file, and what was measured of two releases side by side."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tasks.records.answers import Likeness
from tasks.records.record import Record

PAIR_SECONDS = 3600.0  # for all pairs at most: both releases have their GPUs as long as they take


class PairSettings(Record):
    """How many pairs both releases are asked before traffic moves, and how much slower the new one may be."""

    count: int = Field(
        200,
        ge=40,
        le=1000,
        description="each prompt is asked of both releases, one right after the other; four times as many at most, "
        "as long as they do not tell",
    )
    slower: float = Field(
        0.02,
        ge=0,
        le=1,
        description="most that an answer may take longer, as a share of the old release's time",
    )


class Shift(Record):
    """By how much answers of the new release take longer, as a share; negative: they are faster."""

    estimate: float
    low: float = Field(description="99 of 100 such intervals begin below the true value")
    high: float = Field(description="99 of 100 such intervals end above it")
    pairs: int

    def __str__(self) -> str:
        return f"{self.estimate:+.1%} ({self.low:+.1%} to {self.high:+.1%}, {self.pairs} pairs)"


class Paired(Record):
    """The new release beside the one that serves, asked the same prompts in turn."""

    verdict: Literal["PASS", "FAIL", "INCONCLUSIVE"]
    reasons: tuple[str, ...]
    against: str
    time: Shift | None = Field(None, description="of a whole answer; None where too few pairs can tell")
    likeness: Likeness | None = Field(None, description="of the answers; None where they cannot be compared")
    noise: Likeness | None = Field(None, description="of the new release with itself")
