"""Take up EC2 snapshots an earlier cluster of the environment left, as VolumeSnapshots of this one."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from tasks.cache import manifests
from tasks.cache.context import Context, snapshot_name
from tasks.cache.kept import KeptSnapshot, kept_snapshots, sort
from tasks.cache.observe import SNAPSHOT_API, SnapshotSeen, missing_definitions, snapshots_of
from tasks.cloud import objects
from tasks.cloud.kubernetes import Object


def take_up(context: Context) -> None:
    """Make the cluster know the retained snapshots it needs, and report those that only cost.

    Does nothing where there are none, or the cluster has no snapshots. Raises CloudError, ClusterError.
    """
    cluster, model = context.cluster, context.model
    kept = kept_snapshots(context.ebs.aws, context.environment, model.name)
    if not kept or missing_definitions(cluster):
        return
    contents = cluster.list(SNAPSHOT_API, "VolumeSnapshotContent")
    seen = snapshots_of(cluster, model, context.namespace)
    skipped = unsettled(contents, seen)
    settled = [
        each
        for each in kept
        if each.identity not in skipped and snapshot_name(model, each.commit, each.manifest) not in skipped
    ]
    needed = {*context.needed, context.staged.commit} if model.wants_snapshot else set()
    wanted, spare = sort(settled, known=known(contents, {each.name for each in seen}), needed=needed)
    for each in wanted:
        _make_known(context, each, {objects.name(content) for content in contents})
    for each in spare:
        _tell_spare(context, each)


def known(contents: Sequence[Object], names: Collection[str]) -> set[str]:
    """EC2 ids of contents whose VolumeSnapshot is among `names`; a killed run leaves a content without one. Pure."""
    return {_handle(each) for each in contents if each["spec"]["volumeSnapshotRef"].get("name") in names}


def unsettled(contents: Sequence[Object], seen: Sequence[SnapshotSeen]) -> set[str]:
    """EC2 ids of snapshots being deleted, and names of snapshots not bound yet; skip them. Pure."""
    deleting = {_handle(each) for each in contents if objects.is_terminating(each)}
    unbound = {each["spec"]["volumeSnapshotRef"].get("name", "") for each in contents if not _handle(each)}
    unbound |= {each.name for each in seen if each.deleting or not (each.content or each.adopted)}
    return deleting | unbound


def _handle(content: Object) -> str:
    handle = objects.status(content).get("snapshotHandle") or content["spec"]["source"].get("snapshotHandle")
    return str(handle or "")


def _make_known(context: Context, kept: KeptSnapshot, contents: Collection[str]) -> None:
    content, snapshot = manifests.kept_snapshot(context.environment, context.model, kept)
    context.say(
        f"snapshot {objects.name(snapshot)} is {kept.identity}, which an earlier cluster left: it is taken up"
    )
    # Once bound its reference has the snapshot's uid, which a second apply would take away.
    if objects.name(content) not in contents:
        context.cluster.apply(content)
    context.cluster.apply(snapshot)


def _tell_spare(context: Context, kept: KeptSnapshot) -> None:
    prices = context.ebs.prices
    why = "nothing needs its commit" if context.model.wants_snapshot else "the model wants no snapshot"
    context.say(
        f"snapshot {kept.identity} of {kept.repo} {kept.commit[:12]}, which an earlier cluster left, is not taken up: {why}. "
        f"It stays, at most {prices.told(prices.snapshot(kept.gib))}: aws ec2 delete-snapshot --snapshot-id {kept.identity}"
    )
