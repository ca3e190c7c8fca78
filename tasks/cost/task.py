"""Meter instances and tell what they cost, as Prefect tasks."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from pydantic import ValidationError

from tasks.cloud.instance_types import gpus_of
from tasks.cloud.instances import instances_of
from tasks.cloud.prices import hourly
from tasks.cloud.prometheus import prometheus_of
from tasks.cloud.spot_prices import spot_prices
from tasks.cost import figures, store
from tasks.cost.figures import Known, Traffic
from tasks.records.costs import HOUR, Costs
from tasks.records.errors import CloudError, MetricsUnavailable
from tasks.records.model import Model
from tasks.site import Site
from tasks.task import SETTINGS, RunReporter, task

DAY = timedelta(days=1)


@task(task_run_name="meter of {site.name}", **SETTINGS)
def meter_instances(site: Site) -> float:
    """Keep when each instance began and ended, which EC2 forgets after an hour; instance hours of the last day."""
    now, s3 = datetime.now(UTC), site.aws().client("s3")
    meter = store.read(s3, site.storage.bucket, site.name)
    meter = meter.after(instances_of(site.environment, site.aws()), now)
    store.write(s3, site.storage.bucket, site.name, meter)
    hours = sum(meter.seconds(now - DAY, now).values()) / HOUR
    RunReporter("meter").detail(f"{hours:.2f} instance hours in the last 24 h")
    return hours


@task(task_run_name="costs of {site.name}", **SETTINGS)
def day_costs(site: Site, models: Sequence[Model]) -> Costs:
    """What the last 24 hours cost. `models`: those that have a release. It writes nothing.

    Raises CloudError without the meter or EC2; Prometheus and prices may be away.
    """
    now, environment, aws = datetime.now(UTC), site.environment, site.aws()
    try:
        meter = store.read(aws.client("s3"), site.storage.bucket, site.name)
    except ValidationError as error:
        raise CloudError(f"the meter of instances cannot be read: {error.errors()[0]['msg']}") from error
    meter = meter.after(instances_of(environment, aws), now)
    since = max(now - DAY, meter.began_at or now)
    kinds = {*meter.seconds(since, now), environment.cluster.gpu.instance_type}
    gpus = {kind: gpus_of(aws, kind) for kind in environment.cluster.gpu.types if kind in kinds}
    unknown: dict[str, str] = {}
    traffic: dict[str, Traffic] | None
    try:
        traffic = {model.name: _traffic(site, model, (now - since).total_seconds()) for model in models}
    except MetricsUnavailable as error:
        traffic, unknown["traffic"] = None, error.cause
    on_spot = {one.type for one in meter.ran(since, now) if one.spot}
    if environment.cluster.gpu.capacity_type != "ON_DEMAND":
        on_spot.add(environment.cluster.gpu.instance_type)
    known = Known(
        meter=meter,
        prices=hourly(aws, sorted(kinds)),
        spot=spot_prices(aws, on_spot, since, now),
        gpus=gpus,
        traffic=traffic,
        unknown=unknown,
    )
    return figures.costs_of(environment, models, known, since, now)


def _traffic(site: Site, model: Model, window: float) -> Traffic:
    prometheus = prometheus_of(site.environment, site.cluster())
    labels = f'{{namespace="{site.namespace}",model_name="{model.name}"}}'
    tokens, running = (
        prometheus.series(f"{name}{labels}", window) for name in (figures.TOKENS, figures.RUNNING)
    )
    return figures.traffic_of(tokens, running, site.environment.scrape_interval)
