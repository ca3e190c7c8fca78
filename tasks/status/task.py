"""What serves and what it needs, as Prefect tasks."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial

from tasks.cloud import objects
from tasks.cloud.aws import Aws
from tasks.cloud.instance_types import gpus_of
from tasks.cloud.instances import instances_of
from tasks.cloud.prices import Prices, hourly
from tasks.cloud.prometheus import prometheus_of
from tasks.cloud.spot_prices import spot_prices
from tasks.records import names
from tasks.records.errors import CloudError
from tasks.records.model import Model
from tasks.records.results import Served
from tasks.records.status import EnvironmentStatus
from tasks.releases.task import ledger_of
from tasks.site import Site
from tasks.status import look, serving
from tasks.status.prices import Tariff
from tasks.task import SETTINGS, task


@task(task_run_name="what serves in {site.name}", **SETTINGS)
def list_served(site: Site, models: Sequence[Model]) -> list[Served]:
    """Those of `models` that have a release here, with their ready replicas and last proof."""
    cluster, found = site.cluster(), []
    for model in models:
        known = serving.read(ledger_of(site, model), model, site.environment, datetime.now(UTC))
        if known is None:
            continue
        deployment = cluster.get("apps/v1", "Deployment", names.workload(model), site.namespace)
        ready = int(objects.status(deployment).get("readyReplicas") or 0)
        found.append(known.served.model_copy(update={"replicas": ready}))
    return found


@task(task_run_name="status of {site.name}", **SETTINGS)
def look_at(site: Site, models: Sequence[Model]) -> EnvironmentStatus:
    """Releases, replicas, nodes, requests and USD an hour. What does not answer is a cell that says so."""
    now, environment, cluster = datetime.now(UTC), site.environment, site.cluster()
    instances = look.attempt(lambda: instances_of(environment, site.aws()))
    running = [one for one in instances.value or () if one.runs]
    prices = remembered(site.aws(), {environment.cluster.gpu.instance_type, *(one.type for one in running)})
    on_spot = {one.type for one in running if one.spot}
    seen = look.Seen(
        pods=look.attempt(lambda: cluster.list("v1", "Pod", site.namespace)),
        nodes=look.attempt(lambda: cluster.list("v1", "Node")),
        deployments=look.attempt(lambda: cluster.list("apps/v1", "Deployment", site.namespace)),
        instances=instances,
        requests=look.attempt(lambda: look.read_requests(prometheus_of(environment, cluster), environment)),
        tariff=Tariff(prices, spot_prices(site.aws(), on_spot, now, now)),
        gpu_hour=look.attempt(lambda: gpu_hour(site, prices)),
    )
    rows = []
    for model in models:
        read = partial(serving.read, ledger_of(site, model), model, environment, now)
        known = look.attempt(read)
        if known.value or known.why:
            rows.append(look.model_of(model, known, seen))
    return look.status_of(environment, seen, rows, now)


def remembered(aws: Aws, kinds: set[str]) -> Prices:
    """List prices, asked once by a process that got them all: a watch looks often."""
    key = (id(aws), frozenset(kinds))
    if key not in _PRICES:
        found = hourly(aws, sorted(kinds))
        if not kinds <= {*found.hour}:
            return found
        _PRICES[key] = found
    return _PRICES[key]


_PRICES: dict[tuple[int, frozenset[str]], Prices] = {}


def gpu_hour(site: Site, prices: Prices) -> float:
    """USD an hour of one GPU of the environment's first choice, by list price. Raises CloudError."""
    kind = site.environment.cluster.gpu.instance_type
    if kind not in prices.hour:
        raise CloudError(f"the price of {kind}: {prices.unknown}")
    return prices.hour[kind] / gpus_of(site.aws(), kind)


def nothing_of(environment: str, why: str) -> EnvironmentStatus:
    """The status of an environment that cannot be looked at."""
    return EnvironmentStatus(environment=environment, at=datetime.now(UTC), unknown={"environment": why})
