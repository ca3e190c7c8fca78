"""Snapshots of a warmed volume: one a commit and manifest, found by its labels, deleted when nothing needs its commit.

An EBS snapshot holds what was on the volume when it was cut; all of it was synced before the claim was marked warm.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

from tasks.cache import failures, manifests
from tasks.cache.context import Context
from tasks.cache.fast_restore import FastRestore
from tasks.cache.observe import SNAPSHOT_API, SnapshotSeen, missing_definitions, snapshots_of
from tasks.cache.volume import GIB, Volume, transfer_seconds
from tasks.cloud import objects
from tasks.cloud.kubernetes import Cluster
from tasks.cloud.waiting import until
from tasks.records.errors import WarmingFailed
from tasks.records.model import Model
from tasks.records.quantities import human_seconds, parse_quantity
from tasks.records.results import WarmCache

LOOK_SECONDS = 1.0


def superseded(seen: Sequence[SnapshotSeen], needed: Collection[str]) -> list[str]:
    """Names of snapshots whose commit nothing needs any more. Pure."""
    return [each.name for each in seen if each.commit not in needed and not each.deleting]


def end_fast_restores(
    cluster: Cluster, namespace: str, model: Model, fast: FastRestore, *, keep: str | None
) -> None:
    """Disable fast restore on all snapshots except `keep`, which the serving clones come from. Raises CloudError."""
    for seen in snapshots_of(cluster, model, namespace):
        if seen.name != keep and (identity := _ec2_id(cluster, seen)):
            fast.end(seen.name, identity)


def drop_uncut(context: Context) -> None:
    """Delete snapshots that have not been cut yet: they would capture the new contents."""
    for seen in snapshots_of(context.cluster, context.model, context.namespace):
        if not seen.cut and not seen.deleting:
            context.say(f"snapshot {seen.name} was never cut: it goes before the volume changes")
            context.cluster.delete(SNAPSHOT_API, "VolumeSnapshot", seen.name, context.namespace)


def converge(context: Context, cache: WarmCache, volume: Volume) -> WarmCache:
    """Take the snapshot the model wants and delete those of commits nothing needs; `cache` with the snapshot in it.

    Raises WarmingFailed where the cluster has no snapshots, or this one is not ready in time.
    """
    needed = set(context.needed)
    if context.model.wants_snapshot:
        cache = _with_snapshot(context, cache, volume)
        needed.add(context.staged.commit)
    for name in superseded(snapshots_of(context.cluster, context.model, context.namespace), needed):
        context.say(f"snapshot {name} goes: nothing needs its commit")
        context.cluster.delete(SNAPSHOT_API, "VolumeSnapshot", name, context.namespace)
        context.cluster.delete(SNAPSHOT_API, "VolumeSnapshotClass", name)
    return cache


def _with_snapshot(context: Context, cache: WarmCache, volume: Volume) -> WarmCache:
    if missing := missing_definitions(context.cluster):
        raise failures.no_snapshots(context, missing)
    wanted = context.model.cache
    clones = manifests.storage_class(
        context.environment, volume, "clone", manifests.initialization_rate(wanted)
    )
    context.cluster.apply(clones)
    if wanted.restore == "initialization-rate":
        context.say(
            f"each clone is initialized at {wanted.initialization_rate} MiB/s and billed once for it; the price is not asked "
            "for: https://aws.amazon.com/ebs/pricing/"
        )
    if wanted.restore == "lazy":
        context.say(
            "each clone gets its blocks from the snapshot as they are read: where a first load outlasts the start-up "
            "budget, set cache.restore"
        )
    zones = [cache.zone] if wanted.restore == "fast-snapshot-restore" else []
    fast = FastRestore(context.ebs, context.reporter, context.time)
    seen = _until_usable(context, volume, fast, zones)
    gib = math.ceil(parse_quantity(seen.size) / GIB)
    fast.converge(seen.name, _ec2_id(context.cluster, seen), gib, zones)
    size = f"{max(gib, volume.least_gib)}Gi"
    clone_class = clones["metadata"]["name"]
    return cache.model_copy(update={"snapshot": seen.name, "storage_class": clone_class, "size": size})


def _until_usable(context: Context, volume: Volume, fast: FastRestore, zones: Sequence[str]) -> SnapshotSeen:
    """Take the snapshot where it is not there, and wait until it can be cloned.

    Deadline: the whole volume at the slowest allowed read rate (EBS publishes none). An error of the snapshot-controller is
    waited out: it tries again by itself.
    """
    rate = context.environment.deadlines.cold_read_mib_s
    seconds = transfer_seconds(volume.size_gib * GIB, rate)
    looks: list[SnapshotSeen | None] = []

    def usable() -> SnapshotSeen | None:
        looks.append(_look(context))
        if looks[-1] is None:
            _take(context, volume, seconds, fast, zones)
        return looks[-1] if looks[-1] and looks[-1].usable else None

    def late() -> WarmingFailed:
        error = looks[-1].error if looks[-1] else ""
        events = context.cluster.events(context.namespace, context.snapshot)
        return failures.snapshot_overdue(context, seconds, error, events)

    seen = until(usable, seconds, late, context.time, every=LOOK_SECONDS)
    context.say(f"snapshot {seen.name} is ready{' already' if len(looks) == 1 else ''}")
    return seen


def _look(context: Context) -> SnapshotSeen | None:
    seen = snapshots_of(context.cluster, context.model, context.namespace)
    return next((each for each in seen if each.name == context.snapshot), None)


def _take(context: Context, volume: Volume, seconds: float, fast: FastRestore, zones: Sequence[str]) -> None:
    prices = context.ebs.prices
    usd = prices.told(prices.snapshot(volume.size_gib))
    context.say(
        f"snapshot {context.snapshot} is taken (at most {human_seconds(seconds)} and, for what is written, {usd})"
    )
    if zones:
        fast.tell_price(context.snapshot, zones)
    for document in manifests.snapshot(context.environment, context.model, context.staged, zones):
        context.cluster.apply(document)


def _ec2_id(cluster: Cluster, seen: SnapshotSeen) -> str:
    """The EC2 snapshot of one that is bound; empty where its content does not say."""
    content = cluster.get(SNAPSHOT_API, "VolumeSnapshotContent", seen.content)
    return str(objects.status(content).get("snapshotHandle", ""))
