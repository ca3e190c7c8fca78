"""Load reports and sweeps: what the generator measured, and what was judged of it. Kept in the ledger."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import Field, model_validator

from tasks.records.objectives import (
    LATENCIES,
    OLD_NAMES,
    REQUEST_LATENCIES,
    EachRequest,
    LatencyName,
    Percentile,
    RequestLatency,
)
from tasks.records.questions import GENERATING, PATHS, Route
from tasks.records.record import Record

Verdict = Literal["PASS", "FAIL", "INCONCLUSIVE"]
# Where the gateway is asked from: a Job in the cluster, or the process of the run.
MeasureFrom = Literal["cluster", "here"]
FigureName = LatencyName | Literal["errors", "goodput", "output_tokens_per_second", "requests_per_second"]


class Distribution(Record):
    """Milliseconds over the counted requests; None where there were none."""

    count: int
    mean: float | None = None
    p50: float | None = None
    p90: float | None = None
    p95: float | None = None
    p99: float | None = None
    max: float | None = None

    def at(self, percentile: Percentile) -> float | None:
        """Milliseconds at a percentile."""
        value: float | None = getattr(self, percentile)
        return value


class Block(Record):
    """A part of the window, by when its requests were due; for latency over time and its noise."""

    start: float = Field(description="seconds since the window began")
    seconds: float
    requests: int
    failed: int
    output_tokens: int
    ttft: Distribution
    tpot: Distribution
    e2e: Distribution

    def latency(self, name: RequestLatency) -> Distribution:
        """The distribution of one latency of the block's requests."""
        return _latency(self, name)


class Named(Record):
    """What a figure is of: a latency at a percentile (in milliseconds), or a share or rate of the whole window."""

    figure: FigureName
    percentile: Percentile | None = Field(None, description="of a latency")

    @property
    def name(self) -> str:
        """ "ttft p95", "errors"."""
        return f"{self.figure} {self.percentile}" if self.percentile else self.figure

    @property
    def is_latency(self) -> bool:
        return self.figure in LATENCIES

    @model_validator(mode="before")
    @classmethod
    def _read_old_name(cls, given: Any) -> Any:
        """Ledgers written up to version 0.1.0 hold one name, such as `ttft_p95_ms`."""
        if not isinstance(given, dict) or given.get("name") not in _OLD_FIGURES:
            return given
        figure, *percentile = _OLD_FIGURES[given["name"]]
        rest = {key: value for key, value in given.items() if key != "name"}
        return {**rest, "figure": figure, "percentile": percentile[0] if percentile else None}


_OLD_FIGURES = OLD_NAMES | {
    "error_rate": ("errors",),
    "output_tokens_per_second": ("output_tokens_per_second",),
}


class Figure(Named):
    """One figure of two runs. Worse by more than `allowed` is a regression."""

    before: float
    now: float
    noise: float = Field(description="standard error of the difference, from the spread of both runs' blocks")
    allowed: float
    regressed: bool


class Comparison(Record):
    """A comparison with the last proven run under the same profile; `why` says why there is none."""

    compared: bool
    why: str
    release: str | None = None
    figures: tuple[Figure, ...] = ()


class ObjectiveResult(Named):
    """One objective: the bound, what was measured, whether it holds."""

    bound: float
    measured: float | None
    holds: bool


class Measured(Record):
    """What the load generator measured over the requests of the window, by the rules of docs/measuring.md."""

    started_at: datetime
    window_seconds: float
    achieved_rate: float
    requests: int
    succeeded: int
    failures: dict[str, int]
    failure_messages: dict[str, str] = Field(
        default_factory=dict, description="the server's words in the first failure of each kind, cut"
    )
    ttft: Distribution
    itl: Distribution
    tpot: Distribution
    e2e: Distribution
    output_tokens_per_second: float
    prompt_tokens_per_second: float | None = None
    goodput: float | None
    in_flight: float | None = Field(None, description="requests under way on average: Little's law")
    send_lateness: Distribution
    loop_lag_p99_ms: float
    warmup_failures: int = 0
    cut_to_context: int = Field(0, description="requests shortened to what the model can take")
    blocks: tuple[Block, ...] = ()
    quantiles: dict[str, tuple[float, ...]] = Field(
        default_factory=dict, description="milliseconds of ttft, itl, tpot, e2e at each percent from 0 to 100"
    )

    def latency(self, name: LatencyName) -> Distribution:
        """The distribution of one latency."""
        return _latency(self, name)

    @property
    def error_rate(self) -> float | None:
        """Share of the requests that failed; None where there were none."""
        return (self.requests - self.succeeded) / self.requests if self.requests else None

    @property
    def lateness_ms(self) -> float:
        """How late the generator itself may have been: the larger of send lateness and loop lag at p99."""
        return max(self.send_lateness.p99 or 0.0, self.loop_lag_p99_ms)


class LoadReport(Measured):
    """What was measured, and the verdict on it."""

    verdict: Verdict
    reasons: tuple[str, ...]
    objectives: tuple[ObjectiveResult, ...]
    each: EachRequest = Field(EachRequest(), description="the bounds of a good request")
    offered_rate: float | None = Field(description="None where callers or a trace decide")
    load: str = Field("", description="what was asked for, in words")
    profile: str = Field(
        "",
        description="digest of the load's settings, its files and the definitions: only equals are compared",
    )
    comparison: Comparison | None = None
    route: Route = Field("chat", description="what was asked; reports of earlier versions do not say")
    measured_from: MeasureFrom = Field("here", description="reports of earlier versions have none: from here")

    @property
    def generates(self) -> bool:
        """Whether its answers had output tokens."""
        return self.route in GENERATING

    @property
    def output(self) -> str:
        """Output tokens a second, or why there are none."""
        if self.generates:
            return f"{self.output_tokens_per_second:,.0f}/s"
        return f"none: /v1{PATHS[self.route]} generates no tokens"


def _latency(figures: Record, name: LatencyName) -> Distribution:
    distribution: Distribution = getattr(figures, name)
    return distribution


class SweepStep(Record):
    """One rate for one window, judged by the model's objectives."""

    rate: float
    verdict: Verdict
    reason: str
    requests: int
    in_flight: float
    ttft: Distribution
    tpot: Distribution
    e2e: Distribution
    output_tokens_per_second: float
    error_rate: float

    def latency(self, name: RequestLatency) -> Distribution:
        """The distribution of one latency."""
        return _latency(self, name)

    @model_validator(mode="before")
    @classmethod
    def _read_old_fields(cls, given: Any) -> Any:
        """Ledgers written up to version 0.1.0 hold `ttft_p50`, `ttft_p95` and so on beside each other."""
        if not isinstance(given, dict) or "ttft_p50" not in given:
            return given
        read = {key: value for key, value in given.items() if not key.endswith(("_p50", "_p95"))}
        for name in REQUEST_LATENCIES:
            percentiles = {each: given.get(f"{name}_{each}") for each in ("p50", "p95")}
            read[name] = {"count": given.get("requests", 0), **percentiles}
        return read


class Sweep(Record):
    """The highest rate at which the objectives hold, or why it is unknown, and the settings it proposes for one replica."""

    started_at: datetime
    replicas: int
    steps: tuple[SweepStep, ...]
    knee: float | None = Field(None, description="requests a second of all replicas")
    refused: str | None = Field(None, description="why there is no knee")
    in_flight: float | None = Field(None, description="requests under way at the knee, of all replicas")
    requests_per_replica: int | None = Field(None, description="proposed for scaling.requests_per_replica")
    max_num_seqs: int | None = Field(None, description="proposed for engine.max_num_seqs")
    why: str = ""
    applied: str | None = Field(None, description="the release that was rolled out and proven with them")


class LoadPage(Record):
    """A load report as a page and as JSON, kept beside its release."""

    html: str
    document: str = Field(description="JSON")
