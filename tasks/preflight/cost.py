"""What a first deploy costs an hour: control plane, NAT gateways, nodes. Traffic, volumes and the load balancer come besides."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from tasks.cloud.aws import Aws
from tasks.cloud.prices import CONTROL_PLANE, EXTENDED, NAT, Prices, hourly, within_ceiling
from tasks.cloud.spot_prices import SpotPrices, spot_prices
from tasks.preflight.rows import Row
from tasks.records.environment import Environment
from tasks.records.model import Model

BESIDES = "traffic, volumes and the load balancer besides"


@dataclass(frozen=True)
class Item:
    """`count` of one thing; `usd` an hour for all of them, None where the price list did not say."""

    what: str
    count: int
    usd: float | None


def hourly_prices(environment: Environment, aws: Aws) -> Prices:
    """Today's list prices of what a deploy makes. Never raises: an unknown price carries its reason."""
    cluster = environment.cluster
    return hourly(aws, (cluster.system.instance_type, *cluster.gpu.types))


def spot_prices_now(environment: Environment, aws: Aws) -> SpotPrices:
    """What the GPU types cost on spot now, where they may be. Never raises: an unknown price carries its reason."""
    gpu, now = environment.cluster.gpu, datetime.now(UTC)
    return SpotPrices() if gpu.capacity_type == "ON_DEMAND" else spot_prices(aws, gpu.types, now, now)


def spot_told(environment: Environment, spot: SpotPrices) -> str:
    """The end of the row where GPU nodes may be spot: each type's price now in its cheapest and dearest zone. Pure."""
    gpu = environment.cluster.gpu
    if gpu.capacity_type == "ON_DEMAND":
        return ""
    found = []
    for kind in gpu.types:
        if zones := list(spot.zones(kind).items()):
            (cheapest, low), (dearest, high) = zones[0], zones[-1]
            upto = f" to {high:.3f} in {dearest}" if high > low else ""
            found.append(f"{kind} {low:.3f} in {cheapest}{upto}")
        else:
            found.append(f"{kind} unknown ({spot.unknown})")
    return f"; list prices, on spot now: {', '.join(found)}"


def items(environment: Environment, prices: Prices, *, extended: bool) -> list[Item]:
    """What a first deploy of the environment makes and what each costs. Pure."""
    cluster = environment.cluster
    existing = environment.existing
    nat = 2 if cluster.nat == "per_zone" else 1
    makes_cluster = not existing.cluster
    counts = [
        *([(CONTROL_PLANE, 1)] if makes_cluster else []),
        *([(EXTENDED, 1)] if makes_cluster and extended else []),
        *([] if existing.network else [(NAT, nat)]),
        *([(cluster.system.instance_type, cluster.system.count)] if makes_cluster else []),
        (cluster.gpu.instance_type, max(1, cluster.gpu.min, cluster.gpu.desired)),
    ]
    return [
        Item(what, count, count * prices.hour[what] if what in prices.hour else None)
        for what, count in counts
    ]


def told(found: Sequence[Item]) -> str:
    """The sum and its parts on one line."""
    least = "at least " if any(item.usd is None for item in found) else ""
    parts = ", ".join(
        f"{item.count} {item.what} {'unknown' if item.usd is None else format(item.usd, '.3f')}"
        for item in found
    )
    return f"{least}{total(found):.2f} USD an hour: {parts} ({BESIDES})"


def most(environment: Environment, found: Sequence[Item], prices: Prices) -> list[Item]:
    """The same with as many GPU nodes as the environment may have, of the dearest type that it may take. Pure."""
    gpu = environment.cluster.gpu
    nodes = found[-1]
    takes = gpu.types
    if gpu.price_ceiling is not None:
        takes = within_ceiling(gpu.types, prices.hour, gpu.price_ceiling).types or takes
    kind = max(takes, key=lambda each: prices.hour.get(each, math.inf))
    count = max(gpu.max, nodes.count)
    return [*found[:-1], Item(kind, count, count * prices.hour[kind] if kind in prices.hour else None)]


def total(found: Sequence[Item]) -> float:
    """USD an hour of what has a price."""
    return sum(item.usd or 0.0 for item in found)


def replica_hour(model: Model, environment: Environment, prices: Prices, gpus_a_node: int) -> float | None:
    """USD an hour of one replica's share of its node, by GPUs; None where the node's price is unknown. Pure."""
    node = prices.hour.get(environment.cluster.gpu.instance_type)
    return None if node is None or not gpus_a_node else node * model.resources.gpu / gpus_a_node


def over_budget(environment: Environment, found: Sequence[Item], unknown: str) -> Row | None:
    """The row that refuses: the environment at its most costs more than its budget, or nobody knows. Pure."""
    if environment.budget is None:
        return None
    missing = [item.what for item in found if item.usd is None]
    if missing:
        return Row(
            "fail",
            f"budget: {environment.budget:g} USD an hour cannot be held against prices that are unknown ({missing[0]}): {unknown}",
            "aws pricing get-products --region us-east-1 --service-code AmazonEC2, or leave budget out of the environment's file",
        )
    if total(found) <= environment.budget:
        return None
    dearest = max(found, key=lambda item: item.usd or 0.0)
    return Row(
        "fail",
        f"{total(found):.2f} USD an hour at the most are over the budget of {environment.budget:g}: {dearest.usd:.2f} of it "
        f"are {dearest.count} {dearest.what}",
        "a smaller cluster.gpu.max or another instance_type, or a larger budget in the environment's file",
    )


def judge_cost(environment: Environment, prices: Prices, spot: SpotPrices, *, extended: bool) -> Row:
    """The row: it fails only what is over the environment's budget; else a person decides."""
    found = items(environment, prices, extended=extended)
    limit = most(environment, found, prices)
    if over := over_budget(environment, limit, prices.unknown):
        return over
    missing = [item.what for item in found if item.usd is None]
    on_spot = spot_told(environment, spot)
    if missing:
        return Row(
            "warn",
            f"{told(found)}; unknown: {prices.unknown}{on_spot}",
            "aws pricing get-products --region us-east-1 --service-code AmazonEKS",
        )
    more = ""
    if limit != found and limit[-1].usd is not None:
        more = f"; {total(limit):.2f} USD an hour with {limit[-1].count} {limit[-1].what}, the most that cluster.gpu.max allows"
    return Row("ok", told(found) + more + on_spot)


def judge_ceiling(environment: Environment, prices: Prices) -> Row:
    """The row: it fails where no instance type is within the ceiling. Pure."""
    gpu = environment.cluster.gpu
    assert gpu.price_ceiling is not None  # noqa: S101  no row without one
    found = within_ceiling(gpu.types, prices.hour, gpu.price_ceiling)
    said = f"{gpu.price_ceiling:g} USD an hour a node"
    if not found.types:
        return Row(
            "fail",
            f"{said} is below every type of cluster.gpu: {'; '.join(found.left_out)}",
            f"raise cluster.gpu.price_ceiling in environments/{environment.name}.yaml, or name cheaper alternative_types",
        )
    if found.left_out:
        return Row("warn", f"{said} leaves {', '.join(found.types)}; not taken: {'; '.join(found.left_out)}")
    return Row("ok", f"{said}: every type of cluster.gpu is within it")
