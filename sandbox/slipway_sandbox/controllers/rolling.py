"""The arithmetic of a rollout, on plain numbers (pkg/controller/deployment/{rolling,sync}.go and util)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from slipway_sandbox.controllers.objects import Object, scaled_value


@dataclass(frozen=True)
class Counts:
    """One ReplicaSet: the replicas asked of it, those available, and the size it was last scaled for."""

    name: str
    replicas: int
    available: int = 0
    max_replicas: int = 0


@dataclass(frozen=True)
class Fences:
    """How far a rollout may go over and under the wanted number of pods."""

    surge: int
    unavailable: int


def fences(deployment: Object) -> Fences:
    """maxSurge (rounded up) and maxUnavailable (rounded down); both 0 would never move, so the latter becomes 1."""
    desired = wanted(deployment)
    strategy = deployment["spec"].get("strategy") or {}
    if strategy.get("type") == "Recreate":
        return Fences(0, 0)
    rolling = strategy.get("rollingUpdate") or {}
    surge = scaled_value(rolling.get("maxSurge"), desired, round_up=True, default="25%")
    unavailable = scaled_value(rolling.get("maxUnavailable"), desired, round_up=False, default="25%")
    if surge == 0 and unavailable == 0:
        unavailable = 1
    return Fences(surge, min(unavailable, desired))


def wanted(deployment: Object) -> int:
    replicas = deployment["spec"].get("replicas")
    return 1 if replicas is None else int(replicas)


def new_set_replicas(desired: int, limits: Fences, new: int, total: int, *, recreate: bool) -> int:
    """How many replicas the new ReplicaSet may have now. `total`: replicas asked of all sets, the new one included."""
    if recreate or new > desired:
        return desired
    room = desired + limits.surge - total
    return new if room <= 0 else new + min(room, desired - new)


def shrink_old_sets(desired: int, limits: Fences, new: Counts, old: Sequence[Counts]) -> Mapping[str, int]:
    """New sizes of the old sets that shrink now: unhealthy replicas first, then as availability allows.

    `old` comes oldest first.
    """
    sizes = {counts.name: counts.replicas for counts in old}
    floor = desired - limits.unavailable
    total = new.replicas + sum(sizes.values())
    budget = total - floor - (new.replicas - new.available)
    if not sum(sizes.values()) or budget <= 0:
        return {}
    for counts in old:
        unhealthy = min(max(counts.replicas - counts.available, 0), budget)
        sizes[counts.name] -= unhealthy
        budget -= unhealthy
    spare = new.available + sum(counts.available for counts in old) - floor
    for counts in old:
        cut = min(sizes[counts.name], max(spare, 0))
        sizes[counts.name] -= cut
        spare -= cut
    return {counts.name: sizes[counts.name] for counts in old if sizes[counts.name] != counts.replicas}


def spread_scale(desired: int, limits: Fences, sets: Sequence[Counts]) -> Mapping[str, int]:
    """Sizes of the active sets when a Deployment is scaled in the middle of a rollout, in proportion.

    `sets` comes newest first. The rounding's rest goes to the largest set.
    """
    total = sum(counts.replicas for counts in sets)
    allowed = desired + limits.surge if desired else 0
    to_add = allowed - total
    if not to_add:
        return {}
    ordered = sorted(sets, key=lambda counts: -counts.replicas)
    sizes: dict[str, int] = {}
    added = 0
    for counts in ordered:
        share = 0
        if counts.replicas:
            was = counts.max_replicas or desired + limits.surge
            share = round(counts.replicas * allowed / was) - counts.replicas if was else -counts.replicas
            rest = to_add - added
            share = min(share, rest) if to_add > 0 else max(share, rest)
        sizes[counts.name] = counts.replicas + share
        added += share
    if ordered and added != to_add:
        sizes[ordered[0].name] = max(sizes[ordered[0].name] + to_add - added, 0)
    return {counts.name: sizes[counts.name] for counts in sets if sizes[counts.name] != counts.replicas}
