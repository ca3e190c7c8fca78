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
        description="JSON lines: prompt or messages, max_tokens, expect; prompt of an embedding model; query and documents of a score model; "
        "relative to the project's folder; default: Slipway's own of the task",
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
    cosine: float = Field(
        0.001,
        ge=0,
        le=2,
        description="most that embeddings may be from the proven release's on average, as cosine distance, beyond the noise",
    )
    score: float = Field(
        0.02,
        ge=0,
        description="most that scores may differ from the proven release's on average, beyond the noise",
    )
    checks: float = Field(1.0, ge=0, le=1, description="least share of the prompts' own checks that hold")


class Answer(Record):
    """One answer: tokens with the log-probability of each and the tool it called as JSON; or a vector; or scores."""

    text: str = ""
    tokens: tuple[str, ...] = ()
    logprobs: tuple[float, ...] = ()
    tool_call: str = ""
    vector: str = Field(
        "", description="an embedding scaled to length one: little-endian half-precision numbers in base64"
    )
    scores: tuple[float, ...] = Field((), description="one a document, in the documents' order")


class Answered(Record):
    """The answers to one prompt, asked twice at temperature 0; `check`: what is wrong by its own check, None without one."""

    name: str
    answers: tuple[Answer, Answer]
    check: str | None = Field(None, description="empty where it holds")


class Likeness(Record):
    """How far answers agree, as means over all prompts."""

    agreement: float = Field(
        description="share of greedy tokens; of embeddings and scores: share of the very same answers"
    )
    drift: float = Field(description="in the report's measure")


Measure = Literal["nats", "cosine", "score"]


class AnswersReport(Record):
    """What a release answered, held against what the proven release answered."""

    verdict: Literal["PASS", "FAIL"]
    reasons: tuple[str, ...]
    asked_at: datetime
    profile: str = Field(description="digest of prompts and settings: only equals are compared")
    measure: Measure = Field(
        "nats",
        description="of drift: between log-probabilities, cosine distance of embeddings, between scores",
    )
    answered: tuple[Answered, ...]
    against: str | None = Field(None, description="the proven release it is compared with")
    likeness: Likeness | None = Field(None, description="with that release; None where there is none")
    noise: Likeness = Field(description="of the same release with itself, asked twice")

    @property
    def deterministic(self) -> bool:
        """Whether the same release gave the same tokens, vectors or scores twice."""
        return self.noise.agreement == 1.0
