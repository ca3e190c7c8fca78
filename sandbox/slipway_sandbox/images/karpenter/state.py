"""What the controllers of Karpenter look at together: the cluster's copies, the cloud's instances, what EC2 offers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from slipway_sandbox.controllers.controller import World
from slipway_sandbox.controllers.objects import (
    CLAIMS,
    DAEMON_SETS,
    NAMESPACES,
    NODES,
    PODS,
    STORAGE_CLASSES,
    VOLUMES,
    Object,
    condition_is,
    is_deleting,
    labels_of,
    name_of,
    quantity,
    status_of,
    timestamp,
    uid_of,
)
from slipway_sandbox.controllers.pods import is_terminal
from slipway_sandbox.controllers.writes import Note, Patch
from slipway_sandbox.images.karpenter.claims import launchable
from slipway_sandbox.images.karpenter.cloud import Cloud
from slipway_sandbox.images.karpenter.offerings import NODE_POOL, ON_DEMAND, SPOT, Offering, Pool, resources
from slipway_sandbox.images.karpenter.resources import NODE_CLAIMS, NODE_CLASSES, NODE_POOLS, conditioned
from slipway_sandbox.nodes.instance_types import known

COMPONENT = "karpenter"
NEEDS = (
    NODE_POOLS,
    NODE_CLAIMS,
    NODE_CLASSES,
    NODES,
    PODS,
    DAEMON_SETS,
    CLAIMS,
    VOLUMES,
    STORAGE_CLASSES,
    NAMESPACES,
)


@dataclass(frozen=True)
class Timing:
    """Seconds. Shorter than upstream where a sandbox would otherwise wait without learning anything."""

    look: float = 0.5  # upstream 10: between two looks at what may be disrupted
    cloud: float = 1.0  # upstream 120: between two looks at the instances there are
    drain: float = 0.5  # upstream 5: a drain takes this long at least
    orphan: float = 30.0  # as upstream: an instance without NodeClaim is left alone that long
    unavailable: float = 20.0  # upstream 180 (pkg/cache/cache.go, UnavailableOfferingsTTL)
    registration: float = 900.0  # as upstream: a node that has not joined by then is given up
    batch_idle: float = 1.0  # BATCH_IDLE_DURATION
    batch_max: float = 10.0  # BATCH_MAX_DURATION


@dataclass
class State:
    """`alive`: launch times of the instances by id, as last seen. `nominated`: NodeClaim or node by pod uid."""

    world: World
    cloud: Cloud
    timing: Timing
    prices: Mapping[str, float] = field(default_factory=dict)
    alive: dict[str, datetime] = field(default_factory=dict)
    nominated: dict[str, str] = field(default_factory=dict)

    def now(self) -> str:
        return timestamp(self.world.now())

    def claims(self) -> list[Object]:
        return sorted(self.world.store(NODE_CLAIMS), key=lambda claim: name_of(claim))

    def claims_of(self, pool: str) -> list[Object]:
        return [claim for claim in self.claims() if labels_of(claim).get(NODE_POOL) == pool]

    def node_of(self, claim: Object) -> Object | None:
        """The node of the claim's instance."""
        provider = status_of(claim).get("providerID")
        nodes = self.world.store(NODES)
        return next((n for n in nodes if provider and n["spec"].get("providerID") == provider), None)

    def pods_on(self, node: Object) -> list[Object]:
        name = name_of(node)
        return [p for p in self.world.store(PODS) if p["spec"].get("nodeName") == name and not is_terminal(p)]

    def class_of(self, template: Object) -> Object | None:
        """The EC2NodeClass a NodePool's or NodeClaim's spec names, if it is ready."""
        found = self.world.store(NODE_CLASSES).get("", template["nodeClassRef"]["name"])
        return found if found and condition_is(found, "Ready") and not is_deleting(found) else None

    def offerings(self, node_class: Object) -> list[Offering]:
        """What EC2 has in the class' zones, without what it has just refused. A type without a price is not offered."""
        zones = sorted({subnet["zone"] for subnet in status_of(node_class).get("subnets") or []})
        every = [
            Offering(kind, zone, capacity_type, self.prices[kind.name])
            for kind in known()
            if kind.name in self.prices
            for zone in zones
            for capacity_type in (ON_DEMAND, SPOT)
        ]
        return self.cloud.unavailable.left(every)

    def pools(self) -> list[Pool]:
        """The NodePools that can make nodes now."""
        found = []
        for raw in self.world.store(NODE_POOLS):
            node_class = self.class_of(raw["spec"]["template"]["spec"])
            if node_class is None or is_deleting(raw) or "replicas" in raw["spec"]:
                continue
            used = self.usage(raw)
            limits = raw["spec"].get("limits")
            left = limits and {n: quantity(v) - used.get(n, Decimal(0)) for n, v in limits.items()}
            found.append(Pool(raw, self.offerings(node_class), left or None))
        return found

    def usage(self, pool: Object) -> dict[str, Decimal]:
        """What the NodePool's nodes have together, those on their way with it and without those that are going.

        kubernetes-sigs/karpenter 2266468, pkg/controllers/state/cluster.go, updateNodePoolResources.
        """
        claims = [claim for claim in self.claims_of(name_of(pool)) if not is_deleting(claim)]
        total = {"nodes": Decimal(len(claims))}
        for claim in claims:
            for name, amount in self.capacity_of(claim).items():
                total[name] = total.get(name, Decimal(0)) + quantity(amount)
        return total

    def capacity_of(self, claim: Object) -> Mapping[str, str]:
        """A launched claim's capacity; before that what its cheapest offering would have."""
        if found := status_of(claim).get("capacity"):
            capacity: Mapping[str, str] = found
            return capacity
        expected = self.expected(claim)
        return resources(expected.type, allocatable=False) if expected else {}

    def expected(self, claim: Object) -> Offering | None:
        """What a claim that is not launched yet will probably become."""
        node_class = self.class_of(claim["spec"])
        found = launchable(claim, self.offerings(node_class)) if node_class else []
        return found[0] if found else None

    async def set_status(self, resource_item: Object, status: Object) -> None:
        """Write a NodeClaim's status, where it is another one."""
        if status != status_of(resource_item):
            await self.world.write(COMPONENT, Patch(NODE_CLAIMS, resource_item, {"status": status}, "status"))

    def fresh(self, claim: Object) -> Object:
        """The claim as it was last written."""
        found = self.world.store(NODE_CLAIMS).get("", name_of(claim))
        return found if found and uid_of(found) == uid_of(claim) else claim

    async def set_condition(
        self, claim: Object, kind: str, status: str, *, reason: str = "", message: str = ""
    ) -> None:
        fresh = self.fresh(claim)
        await self.set_status(
            fresh, conditioned(fresh, kind, status, self.now(), reason=reason, message=message)
        )

    def note(
        self, abouts: Iterable[tuple[Object | None, str]], reason: str, message: str, *, warning: bool = False
    ) -> None:
        """One event about each (object, kind) that is there."""
        for about, kind in abouts:
            if about is not None:
                self.world.recorder.note(COMPONENT, Note(about, kind, reason, message, warning=warning))
