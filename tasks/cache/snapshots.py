"""Snapshots of a warmed volume: one a commit and manifest, found again by its labels, gone when nothing needs its commit.

An EBS snapshot holds what was on the volume when it was cut; all of it was synced before the claim was marked warm.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from tasks.cache import failures, manifests
from tasks.cache.fast_restore import FastRestore
from tasks.cache.observe import ClusterVerbs, Object
from tasks.cache.volume import GIB, Volume, transfer_seconds
from tasks.cloud.ebs import Ebs
from tasks.records.environment import Environment
from tasks.records.model import Model
from tasks.records.progress import Reporter
from tasks.records.quantities import human_seconds, parse_quantity
from tasks.records.results import StagedModel, WarmCache

API = "snapshot.storage.k8s.io/v1"
DEFINITIONS = ("volumesnapshots", "volumesnapshotclasses", "volumesnapshotcontents")
LOOK_SECONDS = 1.0


class Step(Enum):
    """The next step towards a snapshot that can be cloned."""

    TAKE = "take"
    WAIT = "wait"  # it is being taken, or an earlier one of its name is going
    DONE = "done"


@dataclass(frozen=True)
class SnapshotSeen:
    """`cut`: its point in time is fixed; `size` is the least a clone may have; `error` what its controller last said;
    `content` the object that knows its EC2 id; `adopted`: an earlier cluster took it."""

    name: str
    commit: str
    ready: bool = False
    cut: bool = False
    deleting: bool = False
    size: str = ""
    error: str = ""
    content: str = ""
    adopted: bool = False


def decide(seen: SnapshotSeen | None) -> Step:
    """An error is waited out: the snapshot-controller tries again by itself, and the deadline ends it."""
    if seen is None:
        return Step.TAKE
    return Step.DONE if seen.ready and not seen.deleting else Step.WAIT


def superseded(seen: Sequence[SnapshotSeen], needed: Collection[str]) -> list[str]:
    """Names of snapshots whose commit nothing needs any more."""
    return [each.name for each in seen if each.commit not in needed and not each.deleting]


def snapshot_seen(document: Object) -> SnapshotSeen:
    metadata, status = document["metadata"], document.get("status") or {}
    adopted = "volumeSnapshotContentName" in document["spec"]["source"]
    return SnapshotSeen(
        name=metadata["name"],
        commit=(metadata.get("labels") or {}).get(manifests.COMMIT_LABEL, ""),
        ready=bool(status.get("readyToUse")),
        cut=adopted or bool(status.get("creationTime")),
        deleting=bool(metadata.get("deletionTimestamp")),
        size=str(status.get("restoreSize") or ""),
        error=str((status.get("error") or {}).get("message") or ""),
        content=str(status.get("boundVolumeSnapshotContentName") or ""),
        adopted=adopted,
    )


def snapshots_of(cluster: ClusterVerbs, model: Model, namespace: str) -> list[SnapshotSeen]:
    """All of the model's, by their labels; none where the cluster does not know the kind."""
    found = cluster.list(API, "VolumeSnapshot", namespace, label_selector=manifests.labels_of(model))
    return [snapshot_seen(document) for document in found]


def missing_definitions(cluster: ClusterVerbs) -> list[str]:
    """The definitions of DEFINITIONS the cluster does not have."""
    names = [f"{kind}.{API.partition('/')[0]}" for kind in DEFINITIONS]
    kind = ("apiextensions.k8s.io/v1", "CustomResourceDefinition")
    return [name for name in names if not cluster.get(*kind, name)]


def ec2_id(cluster: ClusterVerbs, seen: SnapshotSeen) -> str:
    """The EC2 snapshot of one that is bound; empty where its content does not say."""
    content = cluster.get(API, "VolumeSnapshotContent", seen.content) or {}
    return str((content.get("status") or {}).get("snapshotHandle", ""))


def end_fast_restores(
    cluster: ClusterVerbs, model: Model, namespace: str, ebs: Ebs, reporter: Reporter, keep: str | None
) -> None:
    """Of every snapshot of the model but `keep`: the clones of what serves are of that one. Raises CloudError."""
    fast = FastRestore(ebs, reporter)
    for seen in snapshots_of(cluster, model, namespace):
        if seen.name != keep and (handle := ec2_id(cluster, seen)):
            fast.end(seen.name, handle)


def drop_uncut(cluster: ClusterVerbs, model: Model, namespace: str, reporter: Reporter) -> None:
    """Before the volume changes: a snapshot of an earlier run that is not cut yet would hold what comes now."""
    for seen in snapshots_of(cluster, model, namespace):
        if not seen.cut and not seen.deleting:
            reporter.say(f"snapshot {seen.name} was never cut: it goes before the volume changes")
            cluster.delete(API, "VolumeSnapshot", seen.name, namespace)


@dataclass
class Snapshots:
    """Those of one model in one environment. `needed`: commits that serve or may serve again."""

    cluster: ClusterVerbs
    staged: StagedModel
    model: Model
    environment: Environment
    volume: Volume
    ebs: Ebs
    needed: Collection[str]
    reporter: Reporter
    folder: Path | None = None
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    place: failures.Place = field(init=False)
    fast: FastRestore = field(init=False)

    def __post_init__(self) -> None:
        self.name = manifests.snapshot_name(self.model, self.staged.commit, self.staged.manifest_sha256)
        self.fast = FastRestore(self.ebs, self.reporter, self.clock, self.sleep)
        self.namespace = self.environment.namespace
        self.place = failures.place_of(self.model, self.environment, self.staged.commit)

    def converge(self, cache: WarmCache) -> WarmCache:
        """`cache` with its snapshot where the model wants one, and no snapshot of a commit nothing needs.

        Raises WarmingFailed where the cluster has no snapshots, or this one is not ready in time.
        """
        wanted = self.model.wants_snapshot
        if wanted:
            cache = self._with_snapshot(cache)
        kept = {*self.needed, self.staged.commit} if wanted else set(self.needed)
        for name in superseded(snapshots_of(self.cluster, self.model, self.namespace), kept):
            self.reporter.say(f"snapshot {name} goes: nothing needs its commit")
            self.cluster.delete(API, "VolumeSnapshot", name, self.namespace)
            self.cluster.delete(API, "VolumeSnapshotClass", name)
        return cache

    def _with_snapshot(self, cache: WarmCache) -> WarmCache:
        self._check_definitions()
        clone = manifests.clone_class(self.volume, self.model.cache, self.environment, self.folder)
        self.cluster.apply(clone)
        if self.model.cache.restore == "initialization-rate":
            rate = self.model.cache.initialization_rate
            self.reporter.say(
                f"each clone is initialized at {rate} MiB/s and billed once for it; the price is not asked for: "
                "https://aws.amazon.com/ebs/pricing/"
            )
        if self.model.cache.restore == "lazy":
            self.reporter.say(
                "each clone gets its blocks from the snapshot as they are read: where a first load outlasts the start-up "
                "budget, set cache.restore"
            )
        fast = [cache.zone] if self.model.cache.restore == "fast-snapshot-restore" else []
        seen = self._until_ready(fast)
        gib = math.ceil(parse_quantity(seen.size) / GIB)
        self.fast.converge(seen.name, ec2_id(self.cluster, seen), gib, fast)
        size = max(gib, self.volume.least_gib)
        return cache.model_copy(
            update={
                "snapshot": seen.name,
                "storage_class": clone["metadata"]["name"],
                "size": f"{size}Gi",
            }
        )

    def _check_definitions(self) -> None:
        if missing := missing_definitions(self.cluster):
            raise failures.no_snapshots(missing, self.place)

    def _until_ready(self, fast: Sequence[str]) -> SnapshotSeen:
        """What EBS copies is at most the whole volume, of which it says no rate: the slowest read allowed stands for it."""
        rate = self.environment.deadlines.cold_read_mib_s
        seconds = transfer_seconds(self.volume.size_gib * GIB, rate)
        end, taken = self.clock() + seconds, False
        while True:
            seen = self._look()
            step = decide(seen)
            if step is Step.DONE and seen is not None:
                self.reporter.say(f"snapshot {seen.name} is ready{'' if taken else ' already'}")
                return seen
            if step is Step.TAKE:
                self._take(seconds, fast)
            taken = True
            if self.clock() >= end:
                raise failures.snapshot_overdue(
                    self.name,
                    seconds,
                    seen.error if seen else "",
                    self.cluster.events(self.namespace, self.name),
                    self.place,
                )
            self.sleep(LOOK_SECONDS)

    def _take(self, seconds: float, fast: Sequence[str]) -> None:
        prices = self.ebs.prices
        usd = prices.told(prices.snapshot(self.volume.size_gib))
        self.reporter.say(
            f"snapshot {self.name} is taken (at most {human_seconds(seconds)} and, for what is written, {usd})"
        )
        if fast:
            self.fast.tell_price(self.name, fast)
        for document in manifests.snapshot(self.staged, self.model, self.environment, fast, self.folder):
            self.cluster.apply(document)

    def _look(self) -> SnapshotSeen | None:
        found = snapshots_of(self.cluster, self.model, self.namespace)
        return next((seen for seen in found if seen.name == self.name), None)
