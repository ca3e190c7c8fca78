"""The proof of answers: its settings in a model's file, and what was answered to the golden prompts."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from tasks.records.record import Record


class AnswersProof(Record):
    """Golden prompts that a release is asked after its load, and how far its answers may be from the proven release's."""

    prompts: str | None = Field(
        None,
        min_length=1,
        description="JSON lines of prompt or messages, max_tokens, expect; relative to the project's folder; default: Slipway's own chat prompts",
    )
    max_tokens: int = Field(48, ge=1, le=512, description="of an answer, where its prompt does not say")
    seed: int = 1
    agreement: float = Field(
        0.95,
        ge=0,
        le=1,
        description="least share of greedy tokens that are those of the proven release, beyond the measured noise",
    )
    drift: float = Field(
        0.1,
        ge=0,
        description="most that log-probabilities of the tokens both chose may differ on average, in nats, beyond the noise",
    )
    checks: float = Field(1.0, ge=0, le=1, description="least share of the prompts' own checks that hold")


class Answer(Record):
    """One answer: its tokens with the log-probability of each, and the tool it called as JSON, empty for none."""

    text: str
    tokens: tuple[str, ...]
    logprobs: tuple[float, ...]
    tool_call: str = ""


class Answered(Record):
    """The answers to one prompt, asked twice at temperature 0; `check`: what is wrong by its own check, None without one."""

    name: str
    answers: tuple[Answer, Answer]
    check: str | None = Field(None, description="empty where it holds")


class Likeness(Record):
    """How far answers agree, over all prompts: share of greedy tokens, and nats between log-probabilities."""

    agreement: float
    drift: float


class AnswersReport(Record):
    """What a release answered, held against what the proven release answered."""

    verdict: Literal["PASS", "FAIL"]
    reasons: tuple[str, ...]
    asked_at: datetime
    profile: str = Field(description="digest of prompts and settings: only equals are compared")
    answered: tuple[Answered, ...]
    against: str | None = Field(None, description="the proven release it is compared with")
    likeness: Likeness | None = Field(None, description="with that release; None where there is none")
    noise: Likeness = Field(description="of the same release with itself, asked twice")

    @property
    def deterministic(self) -> bool:
        """Whether the same release answered with the same tokens twice."""
        return self.noise.agreement == 1.0
