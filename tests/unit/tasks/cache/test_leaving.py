from __future__ import annotations

from typing import Any

import pytest

from tasks.cache.leaving import is_of, is_retained, is_tagged, leave, remove_claims
from tasks.cloud.kubernetes import Object
from tasks.cloud.waiting import Time
from tasks.records.errors import ClusterError
from tests.support.builders import an_environment
from tests.support.canned import CannedCluster
from tests.support.clock import Clock
from tests.support.heard import Heard

SHARED = an_environment(existing={"cluster": "shared"})
DRIVER = "external-provisioner.volume.kubernetes.io/finalizer"


@pytest.mark.parametrize(
    ("parameters", "ours"),
    [
        ({"type": "gp3", "tagSpecification_1": "slipway:environment=staging"}, True),
        ({"tagSpecification_1": "slipway:environment=production"}, False),
        ({"type": "gp3"}, False),
        (None, False),
    ],
)
def test_a_class_is_ours_by_the_tag_it_gives(parameters: Any, ours: bool) -> None:
    assert is_tagged({"parameters": parameters}, an_environment()) is ours


def test_only_volumes_of_our_namespace_that_outlive_their_object_are_left() -> None:
    volume = {
        "spec": {"claimRef": {"namespace": "llm"}, "persistentVolumeReclaimPolicy": "Retain"},
    }
    assert is_of(volume, "claimRef", "llm")
    assert not is_of(volume, "claimRef", "billing")
    assert not is_of({"spec": {}}, "claimRef", "llm")
    assert is_retained(volume)
    assert not is_retained({"spec": {"persistentVolumeReclaimPolicy": "Delete"}})


def volume(policy: str, namespace: str = "llm", name: str = "pvc-1") -> Object:
    spec = {
        "claimRef": {"namespace": namespace, "name": "clone"},
        "persistentVolumeReclaimPolicy": policy,
    }
    return {
        "kind": "PersistentVolume",
        "metadata": {"name": name, "finalizers": [DRIVER]},
        "spec": spec,
    }


def claim() -> Object:
    return {"kind": "PersistentVolumeClaim", "metadata": {"name": "clone", "namespace": "llm"}}


class Driven(CannedCluster):
    """A volume goes `looks` looks after its deletion: by the driver with its claim, or by whoever deletes the object."""

    def __init__(self, *documents: Object, looks: float) -> None:
        super().__init__(*documents, events=["Warning VolumeFailedDelete: UnauthorizedOperation"])
        self.looks = looks
        self.going: set[str] = set()

    def delete(self, api_version: str, kind: str, name: str, *more: Any, **rest: Any) -> bool:
        if kind == "PersistentVolume":
            self.going.add(name)
            return True
        if kind == "PersistentVolumeClaim":
            self.going |= {v["metadata"]["name"] for v in self.documents if v["kind"] == "PersistentVolume"}
        return super().delete(api_version, kind, name, *more, **rest)

    def list(self, api_version: str, kind: str, *more: Any, **rest: Any) -> list[Object]:
        found = super().list(api_version, kind, *more, **rest)
        if kind == "PersistentVolume" and self.going:
            self.looks -= 1
            if self.looks <= 0:
                found = [each for each in found if each["metadata"]["name"] not in self.going]
        return found


def ticking() -> Time:
    clock = Clock()
    return Time(clock, clock.sleep)


@pytest.mark.parametrize("environment", [an_environment(), SHARED])
def test_claims_are_gone_only_once_the_driver_has_deleted_the_volumes_of_clones(environment: Any) -> None:
    cluster = Driven(claim(), volume("Delete"), looks=5)
    assert remove_claims(cluster, environment, Heard(), time=ticking()) == ["clone"]
    assert cluster.looks == 0


def test_a_volume_that_is_retained_or_of_another_namespace_is_not_waited_for() -> None:
    cluster = CannedCluster(claim(), volume("Retain"), volume("Delete", "billing", "pvc-2"))
    assert remove_claims(cluster, SHARED, Heard(), time=ticking()) == ["clone"]


def test_a_volume_the_driver_cannot_delete_ends_a_teardown_beside_an_existing_cluster() -> None:
    cluster = Driven(claim(), volume("Delete"), looks=float("inf"))
    with pytest.raises(ClusterError, match="1 volumes or snapshots did not go away") as caught:
        remove_claims(cluster, SHARED, Heard(), time=ticking())
    assert caught.value.evidence == (
        f"PersistentVolume pvc-1, held by {DRIVER}",
        "Warning VolumeFailedDelete: UnauthorizedOperation",
    )
    assert caught.value.next_command == "kubectl describe persistentvolume pvc-1"


def test_a_cluster_of_our_own_goes_all_the_same_and_the_volume_is_told() -> None:
    heard = Heard()
    remove_claims(
        Driven(claim(), volume("Delete"), looks=float("inf")), an_environment(), heard, time=ticking()
    )
    assert "Warning VolumeFailedDelete: UnauthorizedOperation" in heard.lines


def test_an_existing_cluster_is_left_once_retained_volumes_are_gone_from_it() -> None:
    cluster = Driven(volume("Retain"), volume("Retain", "billing", "pvc-2"), looks=5)
    assert leave(cluster, SHARED, Heard(), time=ticking()) == ["PersistentVolume pvc-1"]
    assert cluster.looks <= 0
    with pytest.raises(ClusterError, match="did not go away"):
        leave(Driven(volume("Retain"), looks=float("inf")), SHARED, Heard(), time=ticking())
