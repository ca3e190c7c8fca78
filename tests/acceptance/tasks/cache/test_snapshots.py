"""Snapshots of warmed claims: taken once, found again, cloned, gone when nothing needs their commit, and explained."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from slipway_sandbox.testing import EksCluster, Faults

from tasks.cache import snapshots
from tasks.cache.context import Context, snapshot_name
from tasks.cache.fast_restore import FastRestore
from tasks.cache.observe import SNAPSHOT_API, SnapshotSeen, snapshots_of
from tasks.cloud.ebs import Ebs, fast_restores
from tasks.cloud.kubernetes import Cluster
from tasks.records.errors import WarmingFailed
from tests.support.caches import COMMIT, REPO, Staged, Warmer, forget
from tests.support.clock import until

SEVERAL = {"scaling": {"max_replicas": 2}}


@pytest.fixture
def cold(cluster: Cluster, sandbox_cluster: EksCluster, staged: Staged) -> Warmer:
    return Warmer(cluster, sandbox_cluster, staged, more=SEVERAL)


def test_a_cluster_without_snapshots_is_told_with_the_add_on_it_lacks(cold: Warmer) -> None:
    """The first test here: the add-on comes with the next."""
    with pytest.raises(WarmingFailed, match="snapshot-controller add-on is not there") as caught:
        cold()
    assert caught.value.next_command == (
        f"aws eks describe-addon --cluster-name {cold.eks.name} --addon-name snapshot-controller"
    )
    assert len(caught.value.evidence) == 3


@pytest.fixture
def warmer(cold: Warmer, sandbox_cluster: EksCluster) -> Warmer:
    eks = sandbox_cluster.sandbox.client("eks")
    if "snapshot-controller" not in eks.list_addons(clusterName=cold.eks.name)["addons"]:
        sandbox_cluster.add_addon("snapshot-controller")
    until(lambda: len(definitions(cold.cluster)) == 3)
    return cold


def definitions(cluster: Cluster) -> list[Any]:
    found = cluster.list("apiextensions.k8s.io/v1", "CustomResourceDefinition")
    return [each for each in found if each["spec"]["group"] == "snapshot.storage.k8s.io"]


def taken(warmer: Warmer) -> list[str]:
    return [each.name for each in snapshots_of(warmer.cluster, warmer.model, "llm")]


def name_of(warmer: Warmer) -> str:
    return snapshot_name(warmer.model, warmer.staged.commit, warmer.staged.sha256)


def ec2_snapshots(warmer: Warmer) -> list[dict[str, Any]]:
    mine = [{"Name": "tag:slipway:model", "Values": [warmer.name]}]
    found: list[dict[str, Any]] = warmer.aws.client("ec2").describe_snapshots(Filters=mine)["Snapshots"]
    return found


def test_several_replicas_get_a_snapshot_tagged_by_repo_and_commit(warmer: Warmer) -> None:
    cache = warmer()
    assert (cache.snapshot, cache.size) == (name_of(warmer), "3Gi")
    clones = warmer.cluster.get("storage.k8s.io/v1", "StorageClass", cache.storage_class)
    assert clones is not None
    assert (clones["reclaimPolicy"], clones["volumeBindingMode"]) == ("Delete", "WaitForFirstConsumer")
    [made] = ec2_snapshots(warmer)
    tags = {tag["Key"]: tag["Value"] for tag in made["Tags"]}
    assert made["VolumeId"] == cache.volume_id
    assert (tags["slipway:repo"], tags["slipway:commit"]) == (REPO, COMMIT)
    assert (tags["slipway:environment"], tags["slipway:manifest"]) == ("test", warmer.staged.sha256)


def test_one_replica_takes_no_snapshot_unless_it_is_asked_for(warmer: Warmer) -> None:
    warmer.more = {}
    assert warmer().snapshot is None
    warmer.more = {"cache": {"snapshot": "always"}}
    assert warmer().snapshot


def test_a_second_run_finds_the_snapshot_and_takes_none(warmer: Warmer) -> None:
    first = warmer()
    again = warmer()
    assert (again.snapshot, again.bytes_copied) == (first.snapshot, 0)
    assert len(ec2_snapshots(warmer)) == 1
    assert any("is ready already" in line for line in warmer.heard.lines)


def test_a_run_killed_while_the_snapshot_is_taken_is_taken_up(
    warmer: Warmer, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    look = snapshots._look

    def die(context: Context) -> SnapshotSeen | None:
        if seen := look(context):
            raise Killed
        return seen

    with monkeypatch.context() as patch:
        patch.setattr(snapshots, "_look", die)
        with pytest.raises(Killed):
            warmer()
    assert warmer().snapshot
    assert len(ec2_snapshots(warmer)) == 1


def test_a_snapshot_stays_while_its_commit_may_serve_and_goes_after(warmer: Warmer) -> None:
    warmer()
    warmer.needed = (COMMIT,)
    warmer.restage("d" * 40)
    warmer()
    assert len(taken(warmer)) == 2
    warmer.needed = ()
    warmer()
    until(lambda: len(taken(warmer)) == 1)
    until(lambda: len(ec2_snapshots(warmer)) == 1)
    classes = warmer.cluster.list(SNAPSHOT_API, "VolumeSnapshotClass", label_selector=f"model={warmer.name}")
    assert [each["metadata"]["name"] for each in classes] == taken(warmer)


@pytest.mark.long
def test_a_snapshot_that_was_never_cut_goes_before_the_volume_changes(warmer: Warmer, faults: Faults) -> None:
    warmer.more = {}
    warmer()
    warmer.more = SEVERAL
    faults.set("csi-identity")
    warmer.deadlines = {"cold_read_mib_s": 1e9}
    clock = iter(range(0, 10**6, 40))
    with pytest.raises(WarmingFailed):
        warmer(clock=lambda: float(next(clock)))
    faults.clear()
    stale = taken(warmer)
    warmer.restage("d" * 40)
    fresh = warmer().snapshot
    until(lambda: taken(warmer) == [fresh])
    assert fresh not in stale


def test_a_driver_that_may_not_take_snapshots_is_named(warmer: Warmer, faults: Faults) -> None:
    warmer.more = {}
    warmer()
    warmer.more = SEVERAL
    faults.set("csi-identity")
    clock = iter(range(0, 10**6, 20))
    with pytest.raises(WarmingFailed, match="may not take snapshots") as caught:
        warmer(clock=lambda: float(next(clock)))
    assert "--service-account ebs-csi-controller-sa" in str(caught.value.next_command)


def restores(warmer: Warmer) -> dict[str, dict[str, str]]:
    ids = [made["SnapshotId"] for made in ec2_snapshots(warmer)]
    return fast_restores(warmer.aws, ids)


FAST = {"cache": {"restore": "fast-snapshot-restore"}}


def test_fast_restore_is_ready_before_it_is_cloned_and_its_price_is_said_first(warmer: Warmer) -> None:
    warmer.more = SEVERAL | FAST
    cache = warmer()
    assert list(restores(warmer).values()) == [{cache.zone: "enabled"}]
    lines = warmer.heard.lines
    price = f"fast restore of {cache.snapshot} in {cache.zone} is switched on: 547.50 USD a month, as long as it is"
    ready = f"fast restore of {cache.snapshot} is ready: 10 clones at once, 10.0 more an hour; those beyond are lazy"
    assert lines.index(price) < lines.index(f"snapshot {cache.snapshot} is ready") < lines.index(ready)
    assert lines.count(price) == 1


@pytest.mark.long
def test_fast_restore_is_switched_on_and_off_for_a_snapshot_that_is_there(warmer: Warmer) -> None:
    cache = warmer()
    assert restores(warmer) == {}
    warmer.more = SEVERAL | FAST
    warmer()
    assert list(restores(warmer).values()) == [{cache.zone: "enabled"}]
    warmer.more = SEVERAL
    assert warmer().snapshot == cache.snapshot
    assert restores(warmer) == {}


@pytest.mark.long
def test_once_another_commit_serves_the_fast_restore_of_the_one_before_ends(warmer: Warmer) -> None:
    warmer.more = SEVERAL | FAST
    first = warmer()
    warmer.needed = (COMMIT,)
    warmer.restage("d" * 40)
    second = warmer()
    assert len(restores(warmer)) == 2
    fast = FastRestore(Ebs.of(warmer.aws, "g5.2xlarge"), warmer.heard)
    snapshots.end_fast_restores(warmer.cluster, "llm", warmer.model, fast, keep=second.snapshot)
    assert len(restores(warmer)) == 1
    assert (
        f"fast restore of {first.snapshot} in {first.zone} is switched off: it was billed"
        in warmer.heard.lines
    )


def is_gone(cluster: Cluster, kind: str, name: str, namespace: str | None) -> bool:
    return cluster.get(SNAPSHOT_API, kind, name, namespace) is None


def forget_snapshots(warmer: Warmer) -> None:
    """The cluster is as new to the model's snapshots; EC2 still has them."""
    cluster, kinds = warmer.cluster, [("VolumeSnapshot", "llm"), ("VolumeSnapshotContent", None)]
    for content in cluster.list(SNAPSHOT_API, "VolumeSnapshotContent"):
        if content["spec"]["volumeSnapshotRef"]["name"] in taken(warmer):
            retain = {"spec": {"deletionPolicy": "Retain"}}
            cluster.patch(SNAPSHOT_API, "VolumeSnapshotContent", content["metadata"]["name"], retain)
    for kind, namespace in kinds:
        for found in cluster.list(SNAPSHOT_API, kind, namespace):
            name = found["metadata"]["name"]
            mine = name if namespace else found["spec"]["volumeSnapshotRef"]["name"]
            if mine.startswith(warmer.claim_name):
                cluster.delete(SNAPSHOT_API, kind, name, namespace)
                until(partial(is_gone, cluster, kind, name, namespace))


def test_a_snapshot_an_earlier_cluster_left_is_taken_up_and_none_is_taken(warmer: Warmer) -> None:
    first = warmer()
    [made] = ec2_snapshots(warmer)
    forget_snapshots(warmer)
    again = warmer()
    assert (again.snapshot, again.bytes_copied) == (first.snapshot, 0)
    assert [each["SnapshotId"] for each in ec2_snapshots(warmer)] == [made["SnapshotId"]]
    assert any(
        f"is {made['SnapshotId']}, which an earlier cluster left" in line for line in warmer.heard.lines
    )


def test_without_a_kept_volume_the_claim_is_made_of_the_kept_snapshot_and_nothing_is_copied(
    warmer: Warmer,
) -> None:
    first = warmer()
    [made] = ec2_snapshots(warmer)
    forget_snapshots(warmer)
    forget(warmer, first.volume_id)
    warmer.aws.client("ec2").delete_volume(VolumeId=first.volume_id)
    again = warmer()
    assert again.bytes_copied == 0
    assert (again.snapshot, again.volume_id == first.volume_id) == (first.snapshot, False)
    assert any(
        f"is made of snapshot {made['SnapshotId']} of 3 GiB instead" in line for line in warmer.heard.lines
    )
    assert warmer.claim()["spec"]["dataSource"]["name"] == first.snapshot


@pytest.mark.long
def test_a_taken_up_snapshot_goes_with_its_commit_as_one_taken_here(warmer: Warmer) -> None:
    warmer()
    forget_snapshots(warmer)
    warmer()
    warmer.restage("d" * 40)
    fresh = warmer()
    until(lambda: taken(warmer) == [fresh.snapshot])
    until(lambda: len(ec2_snapshots(warmer)) == 1)


@pytest.mark.long
def test_a_run_killed_while_it_takes_a_snapshot_up_is_followed_by_one_that_goes_on(
    warmer: Warmer, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    first = warmer()
    forget_snapshots(warmer)
    applied = Cluster.apply

    def die(self: Cluster, document: dict[str, Any], **more: Any) -> dict[str, Any]:
        if document["kind"] == "VolumeSnapshot":
            raise Killed
        return applied(self, document, **more)

    with monkeypatch.context() as patch:
        patch.setattr(Cluster, "apply", die)
        with pytest.raises(Killed):
            warmer()
    assert warmer().snapshot == first.snapshot
    assert len(ec2_snapshots(warmer)) == 1


def test_a_kept_snapshot_nothing_needs_is_named_with_its_price_and_left(warmer: Warmer) -> None:
    warmer()
    [made] = ec2_snapshots(warmer)
    forget_snapshots(warmer)
    warmer.more = {}
    warmer()
    [line] = [line for line in warmer.heard.lines if "is not taken up" in line]
    assert "the model wants no snapshot" in line
    assert "USD a month" in line
    assert line.endswith(f"aws ec2 delete-snapshot --snapshot-id {made['SnapshotId']}")
    assert taken(warmer) == []
