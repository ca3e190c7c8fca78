"""Taking up EC2 snapshots an earlier cluster of the environment left: as VolumeSnapshots, and as the source of a claim."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from tasks.cache import manifests
from tasks.cache.kept import KeptSnapshot, kept_snapshots, newest_of, sort
from tasks.cache.observe import ClusterVerbs, Object
from tasks.cache.snapshots import API, SnapshotSeen, missing_definitions, snapshots_of
from tasks.cache.volume import Volume
from tasks.cloud.ebs import Ebs
from tasks.records.environment import Environment
from tasks.records.model import Model
from tasks.records.progress import Reporter
from tasks.records.results import StagedModel


@dataclass
class Adoption:
    """For one model and environment. `needed`: commits that serve or may serve again."""

    cluster: ClusterVerbs
    staged: StagedModel
    model: Model
    environment: Environment
    ebs: Ebs
    needed: Collection[str]
    reporter: Reporter
    folder: Path | None = None

    def take_up(self) -> None:
        """Make the cluster know the kept snapshots it needs, and name those that only cost. Nothing where the model
        wants none, or the cluster cannot have any. Raises CloudError, ClusterError."""
        found = kept_snapshots(self.ebs.aws, self.environment, self.model.name)
        if not found or missing_definitions(self.cluster):
            return
        contents = self.cluster.list(API, "VolumeSnapshotContent")
        seen = snapshots_of(self.cluster, self.model, self.environment.namespace)
        settling = unsettled(contents, seen)
        found = [each for each in found if each.identity not in settling and self._name(each) not in settling]
        needed = {*self.needed, self.staged.commit} if self.model.wants_snapshot else set()
        sorted_ = sort(found, known=known(contents, {each.name for each in seen}), needed=needed)
        for kept in sorted_.taken_up:
            self._make_known(kept, {content["metadata"]["name"] for content in contents})
        for kept in sorted_.spare:
            self._tell_spare(kept)

    def source(self) -> tuple[str, KeptSnapshot] | None:
        """(VolumeSnapshot, the EC2 snapshot it is) a new claim is made of instead of being warmed anew; None for none."""
        if not self.model.wants_snapshot:
            return None
        name = manifests.snapshot_name(self.model, self.staged.commit, self.staged.manifest_sha256)
        seen = snapshots_of(self.cluster, self.model, self.environment.namespace)
        if not any(each.name == name and each.cut and not each.deleting for each in seen):
            return None
        found = kept_snapshots(self.ebs.aws, self.environment, self.model.name)
        kept = newest_of(found, self.staged.commit, self.staged.manifest_sha256)
        return (name, kept) if kept else None

    def claim_of(self, claim: Object, volume: Volume) -> list[Object] | None:
        """`claim` made of a snapshot of the very commit and manifest, with its class, in the order they are applied."""
        source = self.source()
        if source is None:
            return None
        name, kept = source
        its_class = manifests.restored_class(volume, self.model.cache, self.environment, self.folder)
        how = {
            "lazy": "its blocks come from there as they are read",
            "initialization-rate": f"its blocks come from there at {self.model.cache.initialization_rate} MiB/s, billed once",
            "fast-snapshot-restore": "its blocks are there at once where the fast restore is on, else as they are read",
        }[self.model.cache.restore]
        self.reporter.say(
            f"claim {claim['metadata']['name']} is made of snapshot {kept.identity} of {kept.gib} GiB instead of being warmed "
            f"anew from S3: {how}"
        )
        return [its_class, manifests.restored_claim(claim, name, kept.gib, its_class)]

    def _name(self, kept: KeptSnapshot) -> str:
        return manifests.snapshot_name(self.model, kept.commit, kept.manifest)

    def _make_known(self, kept: KeptSnapshot, contents: Collection[str]) -> None:
        content, snapshot = manifests.kept_snapshot(kept, self.model, self.environment, self.folder)
        self.reporter.say(
            f"snapshot {snapshot['metadata']['name']} is {kept.identity}, which an earlier cluster left: it is taken up"
        )
        # Once bound its reference has the snapshot's uid, which a second apply would take away.
        if content["metadata"]["name"] not in contents:
            self.cluster.apply(content)
        self.cluster.apply(snapshot)

    def _tell_spare(self, kept: KeptSnapshot) -> None:
        prices = self.ebs.prices
        why = "nothing needs its commit" if self.model.wants_snapshot else "the model wants no snapshot"
        self.reporter.say(
            f"snapshot {kept.identity} of {kept.repo} {kept.commit[:12]}, which an earlier cluster left, is not taken up: {why}. "
            f"It stays, at most {prices.told(prices.snapshot(kept.gib))}: aws ec2 delete-snapshot --snapshot-id {kept.identity}"
        )


def known(contents: Sequence[Object], names: Collection[str]) -> set[str]:
    """EC2 ids a VolumeSnapshot of the cluster (`names`) stands for. A content alone is that of a killed run. Pure."""
    return {_handle(each) for each in contents if each["spec"]["volumeSnapshotRef"].get("name") in names}


def unsettled(contents: Sequence[Object], seen: Sequence[SnapshotSeen]) -> set[str]:
    """EC2 ids that are going, and names of snapshots whose EC2 id is not known yet: to be left to themselves. Pure."""
    going = {_handle(each) for each in contents if each["metadata"].get("deletionTimestamp")}
    unnamed = {each["spec"]["volumeSnapshotRef"].get("name", "") for each in contents if not _handle(each)}
    return (
        going | unnamed | {each.name for each in seen if each.deleting or not (each.content or each.adopted)}
    )


def _handle(content: Object) -> str:
    source, status = content["spec"]["source"], content.get("status") or {}
    return str(status.get("snapshotHandle") or source.get("snapshotHandle") or "")
