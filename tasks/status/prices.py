"""What runs costs an hour: by list prices, and spot by its price in its zone now. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tasks.cloud import objects
from tasks.cloud.instances import Instance
from tasks.cloud.kubernetes import Object
from tasks.cloud.node_affinity import ZONE
from tasks.cloud.prices import CONTROL_PLANE, NAT, Prices
from tasks.cloud.spot_prices import SpotPrices
from tasks.records.environment import Environment

# https://kubernetes.io/docs/reference/labels-annotations-taints/#nodekubernetesioinstance-type
INSTANCE_TYPE = "node.kubernetes.io/instance-type"
# https://karpenter.sh/docs/concepts/scheduling/#capacity-type,
# https://docs.aws.amazon.com/eks/latest/userguide/managed-node-groups.html#managed-node-group-capacity-types
SPOT = {"karpenter.sh/capacity-type": "spot", "eks.amazonaws.com/capacityType": "SPOT"}


@dataclass(frozen=True)
class Usd:
    """USD an hour; None where a price is unknown, and `unknown` says which and why."""

    hour: float | None
    unknown: str = ""


@dataclass(frozen=True)
class Tariff:
    """Prices on demand, and what spot costs now."""

    listed: Prices
    spot: SpotPrices

    def of(self, kind: str, zone: str, *, spot: bool) -> Usd:
        """One instance."""
        if spot:
            return _known(self.spot.now(kind, zone), f"a spot {kind} in {zone}", self.spot.unknown)
        return self.listing(kind)

    def listing(self, what: str) -> Usd:
        """One of what has a list price."""
        return _known(self.listed.hour.get(what), what or "a node without a type", self.listed.unknown)


def of_environment(environment: Environment, instances: Iterable[Instance], tariff: Tariff) -> Usd:
    """Instances that run, and what is paid for beside them of what Slipway makes."""
    found = [tariff.of(one.type, one.zone, spot=one.spot) for one in instances]
    if not environment.existing.cluster:
        found.append(tariff.listing(CONTROL_PLANE))
    if not environment.existing.network:
        found += [tariff.listing(NAT)] * (2 if environment.cluster.nat == "per_zone" else 1)
    missing = sorted({each.unknown for each in found if each.hour is None})
    return Usd(None, "; ".join(missing)) if missing else Usd(sum(each.hour or 0.0 for each in found))


def of_pods(pods: Sequence[Object], nodes: Sequence[Object], tariff: Tariff) -> Usd:
    """The pods' share of the nodes they are on, by GPUs: those that no pod holds are nobody's."""
    by_name = {objects.name(node): node for node in nodes}
    usd = 0.0
    for pod in pods:
        node = by_name.get(objects.node_of(pod) or "")
        if node is None:
            continue
        labels = objects.labels(node)
        spot = bool(SPOT.items() & labels.items())
        price = tariff.of(labels.get(INSTANCE_TYPE, ""), labels.get(ZONE, ""), spot=spot)
        if price.hour is None:
            return price
        usd += price.hour * objects.gpus_requested(pod) / max(1, objects.gpus_allocatable(node))
    return Usd(usd)


def _known(hour: float | None, what: str, why: str) -> Usd:
    return Usd(hour) if hour is not None else Usd(None, f"the price of {what}: {why}")
