"""What must hold under load: the `objectives` of a model's file. docs/measuring.md defines each figure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, Self, get_args

from pydantic import Field, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from tasks.records.quantities import Latency, write_duration
from tasks.records.record import Record

LatencyName = Literal["ttft", "tpot", "itl", "e2e"]
RequestLatency = Literal["ttft", "tpot", "e2e"]
Percentile = Literal["p50", "p90", "p95", "p99"]
LATENCIES: tuple[LatencyName, ...] = get_args(LatencyName)
REQUEST_LATENCIES: tuple[RequestLatency, ...] = get_args(RequestLatency)
PERCENTILES: tuple[Percentile, ...] = get_args(Percentile)
STREAMED: tuple[LatencyName, ...] = ("ttft", "tpot", "itl")


class Percentiles(Record):
    """Upper bounds of one latency, one for each percentile that matters."""

    p50: Latency | None = None
    p90: Latency | None = None
    p95: Latency | None = None
    p99: Latency | None = None

    def bounds(self) -> Iterator[tuple[Percentile, float]]:
        """(percentile, seconds) of each bound that is set."""
        for percentile in PERCENTILES:
            bound: float | None = getattr(self, percentile)
            if bound is not None:
                yield percentile, bound


class EachRequest(Record):
    """Upper bounds of a single request. A request that meets all of them is good, and counts for `goodput`."""

    ttft: Latency | None = Field(None, description="time to first token")
    tpot: Latency | None = Field(None, description="time per output token after the first")
    e2e: Latency | None = Field(None, description="time to the end of the answer")

    def bounds(self) -> Iterator[tuple[RequestLatency, float]]:
        """(latency, seconds) of each bound that is set."""
        for name in REQUEST_LATENCIES:
            bound: float | None = getattr(self, name)
            if bound is not None:
                yield name, bound


class Objectives(Record):
    """Bounds on latency, errors, goodput and throughput over the counted window. Latencies take a unit: 500ms, 2s."""

    ttft: Percentiles = Field(Percentiles(), description="time to first token")
    tpot: Percentiles = Field(Percentiles(), description="time per output token after the first")
    itl: Percentiles = Field(Percentiles(), description="gap between two chunks with text")
    e2e: Percentiles = Field(Percentiles(), description="time to the end of the answer")
    each: EachRequest = EachRequest()
    goodput: float | None = Field(
        None, ge=0, le=1, description="share of requests that are good by `each`, at least"
    )
    errors: float = Field(0.01, ge=0, le=1, description="share of requests that may fail")
    output_tokens_per_second: float | None = Field(None, gt=0, description="at least")
    requests_per_second: float | None = Field(
        None, gt=0, description="requests that succeeded over the window, at least"
    )
    regression: float | None = Field(
        0.1,
        gt=0,
        description="share by which a figure may be worse than in the last proven run, beyond the measured noise; "
        "null: not compared",
    )

    @model_validator(mode="before")
    @classmethod
    def _refuse_old_names(cls, given: Any) -> Any:
        if isinstance(given, dict) and (errors := list(_old_names(given))):
            raise ValidationError.from_exception_data("objectives", errors)
        return given

    @model_validator(mode="after")
    def _goodput_has_bounds(self) -> Self:
        if self.goodput is not None and not list(self.each.bounds()):
            raise ValueError(
                "goodput is the share of requests within the bounds of `each`: give one, such as each: {ttft: 500ms}"
            )
        return self

    def latencies(self) -> Iterator[tuple[LatencyName, Percentile, float]]:
        """(latency, percentile, seconds) of each bound on a percentile."""
        for name in LATENCIES:
            part: Percentiles = getattr(self, name)
            for percentile, bound in part.bounds():
                yield name, percentile, bound

    @property
    def streamed(self) -> list[str]:
        """The objectives that only a streamed answer can be measured for, as they are written."""
        percentiles = [f"{name}.{percentile}" for name, percentile, _ in self.latencies() if name in STREAMED]
        return percentiles + [f"each.{name}" for name, _ in self.each.bounds() if name in STREAMED]


# Names of the flat fields up to version 0.1.0, with the path of what replaced each.
OLD_NAMES: dict[str, tuple[str, ...]] = {
    **{f"{name}_{percentile}_ms": (name, percentile) for name in LATENCIES for percentile in PERCENTILES},
    **{f"request_{name}_ms": ("each", name) for name in REQUEST_LATENCIES},
    "max_error_rate": ("errors",),
    "min_goodput": ("goodput",),
    "min_output_tokens_per_second": ("output_tokens_per_second",),
    "min_requests_per_second": ("requests_per_second",),
    "max_regression": ("regression",),
}


def _old_names(given: dict[str, Any]) -> Iterator[InitErrorDetails]:
    """An error at each old name, with the text that replaces it and its neighbours under the same new key."""
    groups: dict[str, dict[str, str]] = {}
    for old, value in given.items():
        if old in OLD_NAMES and len(path := OLD_NAMES[old]) == 2:
            groups.setdefault(path[0], _already_there(given.get(path[0])))[path[1]] = _milliseconds(value)
    for old, value in given.items():
        if old not in OLD_NAMES:
            continue
        first = OLD_NAMES[old][0]
        new = groups.get(first)
        text = "{" + ", ".join(f"{key}: {each}" for key, each in new.items()) + "}" if new else _plain(value)
        message = PydanticCustomError("old_name", "old name; write {now}", {"now": f"{first}: {text}"})
        yield InitErrorDetails(type=message, loc=(old,), input=value)


def _already_there(part: Any) -> dict[str, str]:
    return {str(key): str(value) for key, value in part.items()} if isinstance(part, dict) else {}


def _milliseconds(value: Any) -> str:
    """A number of milliseconds with its unit; anything else as it is."""
    try:
        return write_duration(float(value) / 1000)
    except (TypeError, ValueError):
        return _plain(value)


def _plain(value: Any) -> str:
    """A YAML scalar."""
    return "null" if value is None else str(value)
