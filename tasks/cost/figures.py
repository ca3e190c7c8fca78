"""From instance seconds, prices and traffic to figures. Pure."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from tasks.cloud.prices import Prices
from tasks.cloud.prometheus import TimeSeries, increase
from tasks.cloud.spot_prices import SpotPrices
from tasks.cost.meter import Machine, Meter
from tasks.records.costs import HOUR, MILLION, Costs, ModelCosts
from tasks.records.environment import Environment
from tasks.records.model import Model

# vLLM 0.32.0, vllm/v1/metrics/loggers.py
TOKENS, RUNNING = "vllm:generation_tokens_total", "vllm:num_requests_running"


@dataclass(frozen=True)
class Traffic:
    """One model's window: output tokens, and the seconds that its replicas were up, and had a request, added up."""

    output_tokens: float
    up: float
    busy: float


def traffic_of(tokens: Sequence[TimeSeries], running: Sequence[TimeSeries], interval: float) -> Traffic:
    """From raw samples. `interval`: seconds between scrapes; no sample stands for more than three of them."""
    by_pod: dict[str, dict[float, float]] = {}
    for series in running:
        # with data parallelism a pod has several engines
        at = by_pod.setdefault(series.labels.get("pod", ""), {})
        for time, value in series.samples:
            at[time] = max(value, at.get(time, 0.0))
    pods = [sorted(samples.items()) for samples in by_pod.values()]
    return Traffic(
        output_tokens=sum(increase(series) for series in tokens),
        up=sum(_seconds(samples, interval, lambda value: True) for samples in pods),
        busy=sum(_seconds(samples, interval, lambda value: value > 0) for samples in pods),
    )


def _seconds(
    samples: Sequence[tuple[float, float]], interval: float, counts: Callable[[float], bool]
) -> float:
    gaps = [min(later[0] - one[0], 3 * interval) for one, later in itertools.pairwise(samples)]
    return sum(gap for (_, value), gap in zip(samples, [*gaps, interval], strict=True) if counts(value))


@dataclass(frozen=True)
class Known:
    """What figures are made of. `gpus`: of each GPU type. `traffic`: by model; None where Prometheus did not answer."""

    meter: Meter
    prices: Prices
    spot: SpotPrices
    gpus: Mapping[str, int]
    traffic: Mapping[str, Traffic] | None
    unknown: Mapping[str, str]


def costs_of(
    environment: Environment, models: Sequence[Model], known: Known, since: datetime, now: datetime
) -> Costs:
    """The figures of the window. `models`: those that have a release."""
    seconds = known.meter.seconds(since, now)
    usd = {one: usd_of(one, known, since, now) for one in known.meter.ran(since, now)}
    paid = _sum(usd.values())
    gpu_usd = _sum(each for one, each in usd.items() if one.type in environment.cluster.gpu.types)
    unknown = dict(known.unknown)
    if missing := sorted({_priced(one, known) for one, each in usd.items() if each is None}):
        unknown["paid_usd"] = f"the price of {'; '.join(missing)}"
    return Costs(
        since=since,
        until=now,
        instance_hours={kind: each / HOUR for kind, each in sorted(seconds.items())},
        at_least=known.meter.at_least(since, now),
        paid_usd=paid,
        gpu_usd=gpu_usd,
        idle_usd=_idle(models, known, seconds, gpu_usd),
        saved_usd=_saved(environment, models, known, since, now),
        models={} if known.traffic is None else _of_models(models, known.traffic, gpu_usd),
        unknown=unknown,
    )


def usd_of(one: Machine, known: Known, since: datetime, now: datetime) -> float | None:
    """USD of one instance in the window: by list price, or by what spot cost in its zone at each second. Pure."""
    if one.spot:
        return known.spot.usd(one.type, one.zone, *one.span(since, now))
    hour = known.prices.hour.get(one.type)
    return None if hour is None else hour * one.seconds(since, now) / HOUR


def _priced(one: Machine, known: Known) -> str:
    if one.spot:
        return f"a spot {one.type} in {one.zone}: {known.spot.unknown}"
    return f"{one.type}: {known.prices.unknown}"


def _sum(usd: Iterable[float | None]) -> float | None:
    found = list(usd)
    return None if None in found else sum(each for each in found if each is not None)


def _idle(
    models: Sequence[Model], known: Known, seconds: Mapping[str, float], gpu_usd: float | None
) -> float | None:
    """USD of the GPU seconds that were paid, less those in which a replica had a request."""
    if known.traffic is None or gpu_usd is None:
        return None
    paid = sum(seconds.get(kind, 0.0) * count for kind, count in known.gpus.items())
    busy = sum(known.traffic[model.name].busy * model.resources.gpu for model in models)
    return gpu_usd * max(0.0, 1.0 - busy / paid) if paid else 0.0


def _saved(
    environment: Environment, models: Sequence[Model], known: Known, since: datetime, now: datetime
) -> float | None:
    """USD of the nodes that the fewest replicas of every model need, for the time that there were fewer."""
    kind = environment.cluster.gpu.instance_type
    hour = node_hour(environment, known)
    if hour is None or not known.gpus.get(kind):
        return None
    gpus = sum(max(1, model.scaling.min_replicas) * model.resources.gpu for model in models)
    wanted = math.ceil(gpus / known.gpus[kind])
    missing = known.meter.below(environment.cluster.gpu.types, wanted, since, now)
    return missing * hour / HOUR


def node_hour(environment: Environment, known: Known) -> float | None:
    """USD an hour of one more GPU node: the cheapest zone's spot price where all nodes are spot, else the list price. Pure."""
    gpu = environment.cluster.gpu
    if gpu.capacity_type == "SPOT":
        return min(known.spot.zones(gpu.instance_type).values(), default=None)
    return known.prices.hour.get(gpu.instance_type)


def _of_models(
    models: Sequence[Model], traffic: Mapping[str, Traffic], gpu_usd: float | None
) -> dict[str, ModelCosts]:
    up = {model.name: traffic[model.name].up * model.resources.gpu for model in models}
    whole, found = sum(up.values()), {}
    for name, seconds in up.items():
        tokens = traffic[name].output_tokens
        usd = None if gpu_usd is None or not whole else gpu_usd * seconds / whole
        per_million = usd * MILLION / tokens if usd is not None and tokens else None
        found[name] = ModelCosts(output_tokens=tokens, gpu_usd=usd, usd_per_million=per_million)
    return found
