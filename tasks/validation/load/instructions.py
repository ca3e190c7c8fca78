"""What the generator is told: where the load goes, what it is, and what makes one request good. Seconds and tokens."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, Literal

from tasks.records.questions import Route


@dataclass(frozen=True, slots=True)
class Lengths:
    """Token counts from a normal distribution, cut to [minimum, maximum]."""

    mean: float
    stdev: float = 0.0
    minimum: int = 1
    maximum: int = 8192


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of an open loop: requests a second at its beginning and its end, changing evenly between."""

    seconds: float
    first_rate: float
    last_rate: float

    @property
    def expected(self) -> float:
        """How many requests are expected in it."""
        return self.seconds * (self.first_rate + self.last_rate) / 2


@dataclass(frozen=True, slots=True)
class Trace:
    """A recorded trace: `start` seconds into it, `speed` times as fast."""

    file: str
    speed: float = 1.0
    start: float = 0.0


@dataclass(frozen=True, slots=True)
class Good:
    """Upper bounds, in seconds, of a good request; None: no bound."""

    ttft: float | None = None
    tpot: float | None = None
    e2e: float | None = None

    @property
    def is_bounded(self) -> bool:
        return (self.ttft, self.tpot, self.e2e) != (None, None, None)


@dataclass(frozen=True, slots=True)
class Instructions:
    """One run. `base_url` ends in /v1; files are relative to `root`; `max_model_len` None: prompts are not cut.

    `texts`: inputs of an embeddings request, documents of a score or rerank request. `patience`: seconds in which connections may fail before anything is sent.
    `connect_to`: the host that connections go to, "" for the URL's own; `authority`: PEM of the only one that TLS trusts.
    """

    base_url: str
    served_name: str
    arrivals: Literal["poisson", "constant", "closed", "trace"]
    endpoint: Route
    streaming: bool
    seed: int
    warmup: float
    window: float
    drain: float
    stall: float
    prompt_tokens: Lengths
    output_tokens: Lengths
    segments: tuple[Segment, ...] = ()
    concurrency: int = 0
    trace: Trace | None = None
    prompts: str | None = None
    texts: int = 1
    good: Good = Good()
    max_model_len: int | None = None
    root: str = "."
    patience: float = 0.0
    connect_to: str = ""
    authority: str = ""

    @classmethod
    def read(cls, text: str) -> Instructions:
        """From JSON as `write` makes it. Raises ValueError, KeyError or TypeError where it is something else."""
        given: dict[str, Any] = json.loads(text)
        parts = {
            "prompt_tokens": Lengths(**given["prompt_tokens"]),
            "output_tokens": Lengths(**given["output_tokens"]),
            "segments": tuple(Segment(**each) for each in given["segments"]),
            "trace": Trace(**given["trace"]) if given["trace"] else None,
            "good": Good(**given["good"]),
        }
        return cls(**given | parts)

    def write(self) -> str:
        return json.dumps(asdict(self))
