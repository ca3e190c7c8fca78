"""What EC2 refused and gave when GPU nodes were asked for: shown as a table, kept with the NodePool, and asked for first while fresh."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from pydantic import ValidationError

from tasks.cloud import karpenter, objects
from tasks.cloud.kubernetes import Cluster, Object
from tasks.cloud.node_affinity import ZONE
from tasks.records.record import Record

TYPE, MARKET = "node.kubernetes.io/instance-type", "karpenter.sh/capacity-type"
NOTE = "slipway.dev/capacity"  # annotation of the NodePool
LINES = 8  # refusals that are kept, of 300 characters each


class Came(Record):
    """One rung of the ladder: what the last node was, where EC2 had refused others before it."""

    instance_type: str
    zone: str
    market: str
    at: datetime
    refused: tuple[str, ...] = ()

    @property
    def labels(self) -> dict[str, str]:
        """The labels of such a node."""
        return {TYPE: self.instance_type, ZONE: self.zone, MARKET: self.market}

    def __str__(self) -> str:
        return f"{self.instance_type} in {self.zone}, {self.market}"


def read(pool: Object | None) -> Came | None:
    """What the NodePool's annotation says; None where it says nothing, or is of another version."""
    text = objects.annotations(pool).get(NOTE)
    try:
        return Came.model_validate_json(text) if text else None
    except ValidationError:
        return None


def fresh(came: Came | None, now: datetime, memory: float) -> Came | None:
    """What to begin with: where nothing was refused Karpenter's own order is right, and an old refusal says nothing. Pure.

    `memory`: `cluster.gpu.capacity_memory`, in seconds.
    """
    if came is None or not came.refused or now - came.at > timedelta(seconds=memory):
        return None
    return came


def came_of(claims: Sequence[Object], refused: Sequence[str], now: datetime) -> Came | None:
    """The newest NodeClaim that EC2 has launched, as a rung; None where none has. Pure."""
    launched = [claim for claim in claims if {TYPE, ZONE, MARKET} <= objects.labels(claim).keys()]
    if not launched:
        return None
    labels = objects.labels(max(launched, key=lambda claim: str(claim["metadata"]["creationTimestamp"])))
    kept = tuple(line[:300] for line in refused[:LINES])
    return Came(instance_type=labels[TYPE], zone=labels[ZONE], market=labels[MARKET], at=now, refused=kept)


def keep(cluster: Cluster, came: Came) -> None:
    """Write it to the NodePool. Raises ClusterError."""
    body = {"metadata": {"annotations": {NOTE: came.model_dump_json()}}}
    cluster.patch(*karpenter.POOL_KIND, karpenter.POOL, body)


def rows(first: Came | None, refused: Sequence[str], claims: Sequence[Object]) -> list[Mapping[str, Any]]:
    """The table: what was asked for first, what was refused, what came. Pure."""
    found: list[Mapping[str, Any]] = []
    if first:
        found.append({"step": "begun with", "what": f"{first}: it came last, at {first.at:%H:%M} UTC"})
    found += [{"step": "refused", "what": line} for line in refused]
    for claim in claims:
        labels = objects.labels(claim)
        what = ", ".join(labels.get(key, "?") for key in (TYPE, ZONE, MARKET))
        found.append({"step": "came", "what": f"{objects.name(claim)}: {what}"})
    return found
