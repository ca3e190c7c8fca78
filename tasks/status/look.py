"""Read an environment's status. What cannot be read is a cell that says so, and hides no other."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

from pydantic import ValidationError

from tasks.cloud import objects
from tasks.cloud.instances import Instance
from tasks.cloud.kubernetes import Object
from tasks.cloud.prometheus import Prometheus
from tasks.records import names
from tasks.records.costs import usd_per_million
from tasks.records.environment import Environment
from tasks.records.errors import MetricsUnavailable, SlipwayError
from tasks.records.model import Model
from tasks.records.status import EnvironmentStatus, ModelStatus
from tasks.status import prices as priced
from tasks.status import rates
from tasks.status.serving import Known

T = TypeVar("T")


@dataclass(frozen=True)
class Read(Generic[T]):
    """A value, or why it could not be read."""

    value: T | None
    why: str = ""


def attempt(read: Callable[[], T]) -> Read[T]:
    """Read once; an error of Slipway's tree, or of a record that does not parse, is the reason."""
    try:
        return Read(read())
    except SlipwayError as error:
        return Read(None, error.cause)
    except ValidationError as error:
        return Read(None, f"a record of the ledger cannot be read: {error.errors()[0]['msg']}")
    except json.JSONDecodeError as error:
        return Read(None, f"an object of the ledger is no JSON: {error}")


@dataclass(frozen=True)
class Seen:
    """What was read of a whole environment, each by itself."""

    pods: Read[list[Object]]
    nodes: Read[list[Object]]
    deployments: Read[list[Object]]
    instances: Read[list[Instance]]
    requests: Read[dict[str, float]]
    tariff: priced.Tariff
    gpu_hour: Read[float]  # USD of one GPU of the environment's first choice

    @property
    def types(self) -> Counter[str]:
        """Instances that run, by type."""
        return Counter(one.type for one in self.instances.value or () if one.runs)

    def pods_of(self, model: Model) -> list[Object]:
        """Its pods that stay."""
        mine = {names.MODEL_LABEL: model.name}.items()
        return [pod for pod in objects.staying(self.pods.value or ()) if mine <= objects.labels(pod).items()]

    def deployment_of(self, model: Model) -> Object | None:
        wanted = names.workload(model)
        return next((one for one in self.deployments.value or () if objects.name(one) == wanted), None)


def read_requests(prometheus: Prometheus, environment: Environment) -> dict[str, float]:
    """Requests a minute at the gateway, by model. Raises MetricsUnavailable."""
    window = rates.window_of(environment.scrape_interval)
    namespace = f'namespace="{environment.namespace}"'
    up = prometheus.series(f'up{{{namespace},pod=~"{names.GATEWAY}-.+"}}', window)
    if not rates.is_scraped(up):
        raise MetricsUnavailable("Prometheus has no metrics of the gateway")
    return rates.by_model(prometheus.series(f"{rates.REQUESTS}{{{namespace}}}", window), up, window)


def status_of(
    environment: Environment, seen: Seen, models: Sequence[ModelStatus], at: datetime
) -> EnvironmentStatus:
    """The environment's own figures beside its models'. Pure."""
    whole = {"kubernetes": seen.pods.why, "instances": seen.instances.why, "requests": seen.requests.why}
    unknown = {name: why for name, why in whole.items() if why}
    if seen.instances.value is None:
        return EnvironmentStatus(environment=environment.name, at=at, models=tuple(models), unknown=unknown)
    types = seen.types
    running = [one for one in seen.instances.value if one.runs]
    usd = priced.of_environment(environment, running, seen.tariff)
    return EnvironmentStatus(
        environment=environment.name,
        at=at,
        models=tuple(models),
        nodes=dict(types),
        gpu_nodes=sum(types[kind] for kind in {*environment.cluster.gpu.types}),
        usd_per_hour=usd.hour,
        unknown=unknown | ({"usd_per_hour": usd.unknown} if usd.unknown else {}),
    )


def model_of(model: Model, known: Read[Known | None], seen: Seen) -> ModelStatus:
    """One row; each of its cells is known, or says why not. Pure."""
    unknown: dict[str, str] = {}
    if known.why:
        unknown |= dict.fromkeys(("release", "proven_at", "last_drill_at"), known.why)
    deployment = seen.deployment_of(model)
    if seen.deployments.why:
        unknown |= dict.fromkeys(("replicas_ready", "replicas_wanted"), seen.deployments.why)
    if seen.pods.why or seen.nodes.why:
        unknown |= dict.fromkeys(("nodes", "usd_per_hour"), seen.pods.why or seen.nodes.why)
    if seen.requests.why:
        unknown["requests_per_minute"] = seen.requests.why
    if seen.gpu_hour.why:
        unknown["usd_per_million_output_tokens_at_proven_rate"] = seen.gpu_hour.why
    pods = seen.pods_of(model)
    usd = priced.of_pods(pods, seen.nodes.value or (), seen.tariff)
    if usd.unknown and "usd_per_hour" not in unknown:
        unknown["usd_per_hour"] = usd.unknown
    facts = known.value
    ready = int(objects.status(deployment).get("readyReplicas") or 0)
    return ModelStatus(
        model=model.name,
        served=facts.served.model_copy(update={"replicas": ready}) if facts else None,
        replicas_wanted=int(objects.spec(deployment).get("replicas", 1)) if deployment else None,
        nodes=None
        if "nodes" in unknown
        else tuple(sorted({node for pod in pods if (node := objects.node_of(pod))})),
        last_drill_at=facts.drilled_at if facts else None,
        requests_per_minute=None if seen.requests.value is None else seen.requests.value.get(model.name, 0.0),
        usd_per_hour=None if "usd_per_hour" in unknown else usd.hour,
        usd_per_million=_at_proven_rate(facts, model, seen.gpu_hour.value),
        unknown=unknown,
    )


def _at_proven_rate(facts: Known | None, model: Model, gpu_hour: float | None) -> float | None:
    """As its deploy told it, by today's prices: the replicas it was proven with, their GPUs alone."""
    if facts is None or gpu_hour is None:
        return None
    hour = gpu_hour * model.resources.gpu * model.scaling.min_replicas
    return usd_per_million(hour, facts.output_tokens_per_second)
