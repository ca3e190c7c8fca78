"""What runs costs an hour, by list prices. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tasks.cloud import objects
from tasks.cloud.kubernetes import Object
from tasks.cloud.prices import CONTROL_PLANE, NAT, Prices
from tasks.records.environment import Environment

# https://kubernetes.io/docs/reference/labels-annotations-taints/#nodekubernetesioinstance-type
INSTANCE_TYPE = "node.kubernetes.io/instance-type"


@dataclass(frozen=True)
class Usd:
    """USD an hour; None where a price is unknown, and `unknown` says which and why."""

    hour: float | None
    unknown: str = ""


def of_environment(environment: Environment, types: Mapping[str, int], prices: Prices) -> Usd:
    """Instances by type, and what is paid for beside them of what Slipway makes."""
    things = Counter(types)
    if not environment.existing.cluster:
        things[CONTROL_PLANE] = 1
    if not environment.existing.network:
        things[NAT] = 2 if environment.cluster.nat == "per_zone" else 1
    return _sum(things, prices)


def of_pods(pods: Sequence[Object], nodes: Sequence[Object], prices: Prices) -> Usd:
    """The pods' share of the nodes they are on, by GPUs: those that no pod holds are nobody's."""
    by_name = {objects.name(node): node for node in nodes}
    usd = 0.0
    for pod in pods:
        node = by_name.get(objects.node_of(pod) or "")
        if node is None:
            continue
        kind = objects.labels(node).get(INSTANCE_TYPE, "")
        if kind not in prices.hour:
            return Usd(None, f"the price of {kind or 'a node without a type'}: {prices.unknown}")
        usd += prices.hour[kind] * objects.gpus_requested(pod) / max(1, objects.gpus_allocatable(node))
    return Usd(usd)


def _sum(things: Mapping[str, int], prices: Prices) -> Usd:
    missing = sorted(thing for thing in things if thing not in prices.hour)
    if missing:
        return Usd(None, f"the price of {', '.join(missing)}: {prices.unknown}")
    return Usd(sum(prices.hour[thing] * count for thing, count in things.items()))
