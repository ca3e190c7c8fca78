"""Create the model's PVC; report how an existing one differs from its spec."""

from __future__ import annotations

from tasks.cache import manifests
from tasks.cache.context import Context
from tasks.cache.kept import (
    KeptSnapshot,
    KeptVolume,
    choose,
    kept_snapshots,
    kept_volumes,
    known_elsewhere,
    newest_of,
)
from tasks.cache.observe import Seen, snapshots_of, zones_of
from tasks.cache.volume import Volume, differences, volume_for
from tasks.cloud.ebs import volume_figures
from tasks.cloud.objects import gpu_nodes

_RESTORED = {
    "lazy": "its blocks come from there as they are read",
    "initialization-rate": "its blocks come from there at {rate} MiB/s, billed once",
    "fast-snapshot-restore": "its blocks are there at once where the fast restore is on, else as they are read",
}


def wanted_volume(context: Context, seen: Seen | None = None) -> Volume:
    """The volume a claim needs for the staged commit beside the commits `seen` on it that something needs."""
    held = seen.held if seen else {}
    kept = sum(held[each] for each in held if each in context.needed and each != context.staged.commit)
    return volume_for(
        context.staged.all_bytes,
        context.model.cache,
        kept,
        budget_mib_s=context.environment.deadlines.cold_read_mib_s,
        ceiling=context.ebs.ceiling,
    )


def create(context: Context, volume: Volume) -> None:
    """Reuse a retained volume in a node's zone; else restore a snapshot of this commit; else create an empty volume for the
    job to fill. A retained volume that is too small grows later. Raises CloudError, ClusterError."""
    environment, model = context.environment, context.model
    if kept := _kept_volume(context):
        context.say(
            f"claim {context.claim} takes up {kept.identity}, which an earlier cluster left in {kept.zone}: "
            f"{kept.gib} GiB, {kept.iops} IOPS, {kept.mib_s} MiB/s"
        )
        documents = manifests.claim_on_volume(environment, model, volume, kept)
    elif snapshot := _kept_snapshot(context):
        how = _RESTORED[model.cache.restore].format(rate=model.cache.initialization_rate)
        context.say(
            f"claim {context.claim} is made of snapshot {snapshot.identity} of {snapshot.gib} GiB instead of being warmed "
            f"anew from S3: {how}"
        )
        documents = manifests.claim_of_snapshot(environment, model, volume, snapshot)
        _tell_figures(context, volume, max(volume.size_gib, snapshot.gib))
    else:
        documents = manifests.empty_claim(environment, model, volume)
        _tell_figures(context, volume, volume.size_gib)
    for document in documents:
        context.cluster.apply(document)


def _kept_volume(context: Context) -> KeptVolume | None:
    """The retained volume a new claim is made on."""
    volumes = context.cluster.list("v1", "PersistentVolume")
    return choose(
        kept_volumes(context.ebs.aws, context.environment, context.claim),
        zones=zones_of(gpu_nodes(context.cluster, context.environment)),
        known=known_elsewhere(volumes, context.namespace, context.claim),
    )


def _kept_snapshot(context: Context) -> KeptSnapshot | None:
    """The EC2 snapshot of the staged files that a new claim is restored from: one the cluster knows, cut."""
    if not context.model.wants_snapshot:
        return None
    seen = snapshots_of(context.cluster, context.model, context.namespace)
    if not any(each.name == context.snapshot and each.cut and not each.deleting for each in seen):
        return None
    kept = kept_snapshots(context.ebs.aws, context.environment, context.model.name)
    return newest_of(kept, context.staged.commit, context.staged.digest)


def _tell_figures(context: Context, volume: Volume, gib: int) -> None:
    usd = _price(context, gib, volume)
    context.say(f"claim {context.claim}: {gib} GiB gp3, {volume.iops} IOPS, {volume.throughput} MiB/s: {usd}")
    ceiling = context.ebs.ceiling
    if ceiling and volume.throughput > ceiling:
        kind = context.environment.cluster.gpu.instance_type
        context.say(f"{kind} reads at most {ceiling:.0f} MiB/s of it")


def tell_differences(context: Context, volume_id: str, wanted: Volume) -> None:
    """Report how the claim's volume differs from a new one, with the command that changes it: neither the claim's class
    nor its size can. Raises CloudError."""
    figures = volume_figures(context.ebs.aws, volume_id)
    if figures is None:
        return
    has = Volume(*figures)
    for line in differences(has, wanted, volume_id, asked=context.model.cache.size is not None):
        context.say(f"claim {context.claim}: {line}")
    if (has.iops, has.throughput) != (wanted.iops, wanted.throughput):
        now, then = _price(context, has.size_gib, has), _price(context, has.size_gib, wanted)
        context.say(f"claim {context.claim}: now {now}, then {then}")


def _price(context: Context, gib: int, volume: Volume) -> str:
    prices = context.ebs.prices
    return prices.told(prices.volume(gib, volume.iops, volume.throughput))
