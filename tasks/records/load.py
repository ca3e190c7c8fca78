"""The load a release is proven under: arrivals, lengths, what is asked. Part of a model's file."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from tasks.records.quantities import Seconds, parse_duration
from tasks.records.questions import Route
from tasks.records.record import Record


class LengthDistribution(Record):
    """Token counts drawn from a normal distribution, cut to [minimum, maximum]."""

    mean: float = Field(gt=0)
    stdev: float = Field(0.0, ge=0)
    minimum: int = Field(1, ge=1)
    maximum: int = Field(8192, ge=1)

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if self.minimum > self.maximum:
            raise ValueError(f"minimum {self.minimum} is above maximum {self.maximum}")
        return self


MOST_REQUESTS = 2_000_000  # of one load: the generator keeps about 150 MiB for them


class Stage(Record):
    """A part of the window with one rate."""

    rate: float = Field(gt=0, le=100_000, description="requests a second")
    seconds: Seconds = Field(gt=0)


class Replay(Record):
    """A trace in the Azure LLM inference format. Its arrivals and lengths are replayed for warm-up and window."""

    file: str = Field(min_length=1, description="CSV, relative to the project's folder")
    speed: float = Field(1.0, gt=0, le=10_000, description="2: twice as fast")
    start: Seconds = Field(0.0, description="how far into the trace to begin")


class Load(Record):
    """The load a release is proven under.

    Open loop: arrivals do not wait for answers. Closed loop: each of `concurrency` callers waits for its answer before it
    asks again.
    """

    arrivals: Literal["poisson", "constant", "closed", "trace"] = "poisson"
    rate: float | None = Field(
        None, gt=0, le=100_000, description="requests a second, of poisson or constant arrivals"
    )
    ramp_to: float | None = Field(
        None, gt=0, le=100_000, description="the rate changes evenly to this over the window"
    )
    stages: tuple[Stage, ...] = Field(
        (), max_length=100, description="one rate after another, instead of rate and window"
    )
    concurrency: int | None = Field(None, ge=1, le=4096, description="callers; with closed arrivals only")
    trace: Replay | None = Field(None, description="with trace arrivals only")
    warmup: Seconds = Field(5.0, description="requests sent before the window, not counted")
    window: Seconds = Field(
        60.0, gt=0, le=86_400, description="requests sent in this time are the ones counted"
    )
    drain: Seconds = Field(60.0, description="time for requests still running to end")
    stall: Seconds = Field(20.0, gt=0, description="a request without bytes for this long has failed")
    prompt_tokens: LengthDistribution = LengthDistribution(mean=256, stdev=64)
    output_tokens: LengthDistribution = LengthDistribution(mean=128, stdev=32)
    prompts: str | None = Field(
        None,
        min_length=1,
        description="JSON lines of prompt or messages, max_tokens; relative to the project's folder",
    )
    endpoint: Route | None = Field(
        None,
        description="the route that is asked; default: by engine.task embeddings, score, or chat; completions of a repo without a chat template",
    )
    texts: int = Field(
        1,
        ge=1,
        le=1000,
        description="inputs of an embeddings request, documents of a score or rerank request",
    )
    seed: int = 1
    streaming: bool = Field(True, description="of answers that are text")

    @model_validator(mode="before")
    @classmethod
    def _stages_make_the_window(cls, given: Any) -> Any:
        if not isinstance(given, dict) or not given.get("stages"):
            return given
        try:
            whole = sum(parse_duration(stage["seconds"]) for stage in given["stages"])
            window = parse_duration(given.get("window", whole))
        except (TypeError, KeyError, ValueError, AttributeError):
            return given  # the fields' own checks report it
        if abs(window - whole) > 1e-6:
            raise ValueError(f"the stages take {whole:g} s: leave window out")
        return {**given, "window": whole}

    @model_validator(mode="after")
    def _has_a_size(self) -> Self:
        if (self.arrivals == "trace") != (self.trace is not None):
            raise ValueError("trace arrivals take trace, and no others do")
        if self.trace and (self.prompts or self.rate or self.stages or self.concurrency):
            raise ValueError(
                "a trace brings its own arrivals and lengths: no rate, stages, concurrency or prompts"
            )
        if self.arrivals == "closed" and (self.concurrency is None or self.rate is not None):
            raise ValueError("closed arrivals take concurrency, and no rate")
        if self.arrivals in ("poisson", "constant"):
            if (self.rate is None) == (not self.stages) or self.concurrency is not None:
                raise ValueError(f"{self.arrivals} arrivals take rate or stages, and no concurrency")
        elif self.stages:
            raise ValueError("stages are for poisson and constant arrivals")
        if (self.offered_rate or 0) * (self.warmup + self.window) > MOST_REQUESTS:
            raise ValueError(f"that is more than {MOST_REQUESTS:,} requests: make it shorter or slower")
        if self.ramp_to is not None and self.rate is None:
            raise ValueError("ramp_to rises from rate: give rate")
        return self

    @property
    def offered_rate(self) -> float | None:
        """Requests a second asked for on average over the window; None where callers or a trace decide."""
        if self.stages:
            return sum(stage.rate * stage.seconds for stage in self.stages) / self.window
        if self.rate is not None and self.ramp_to is not None:
            return (self.rate + self.ramp_to) / 2
        return self.rate

    def __str__(self) -> str:
        if self.arrivals == "closed":
            return f"{self.concurrency} callers that wait for their answers"
        if self.trace:
            return f"{self.trace.file} replayed at {self.trace.speed:g} times its speed"
        if self.stages:
            return f"{self.arrivals} arrivals at {', '.join(f'{stage.rate:g}' for stage in self.stages)}/s"
        if self.ramp_to is not None:
            return f"{self.arrivals} arrivals from {self.rate:g}/s to {self.ramp_to:g}/s"
        return f"{self.arrivals} arrivals at {self.rate:g}/s"
