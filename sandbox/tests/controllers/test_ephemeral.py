"""Generic ephemeral volumes: the pod's own claim, made for it and gone with it."""

from __future__ import annotations

import pytest

from slipway_sandbox.controllers.ephemeral import decide_ephemeral
from slipway_sandbox.controllers.objects import CLAIMS, PODS, Object
from slipway_sandbox.controllers.placement import Unschedulable, decide_placement
from slipway_sandbox.controllers.pods import holds
from slipway_sandbox.controllers.snapshot import take_snapshot
from slipway_sandbox.controllers.writes import Create, Note
from tests.controllers.builders import CLASS, claim, node, pod
from tests.controllers.conftest import Cluster, pod_spec

TEMPLATE = {
    "metadata": {"labels": {"of": "cache"}},
    "spec": {
        "storageClassName": "gp3",
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "5Gi"}},
        "dataSource": {"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": "warm"},
    },
}
VOLUME = {"name": "cache", "ephemeral": {"volumeClaimTemplate": TEMPLATE}}


def owned(by: str) -> Object:
    item = claim("p-cache")
    item["metadata"]["ownerReferences"] = [
        {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": by, "controller": True}
    ]
    return item


def test_a_missing_claim_is_made_from_the_template_and_owned_by_the_pod() -> None:
    [write] = decide_ephemeral(pod("p", volumes=[VOLUME]), lambda _: None).writes
    assert isinstance(write, Create)
    made = write.body
    assert (made["metadata"]["name"], made["metadata"]["labels"]) == ("p-cache", {"of": "cache"})
    [owner] = made["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["uid"], owner["controller"]) == ("Pod", "uid-p", True)
    assert made["spec"] == TEMPLATE["spec"]


def test_a_claim_of_that_name_that_is_not_the_pods_is_never_used() -> None:
    [write] = decide_ephemeral(pod("p", volumes=[VOLUME]), lambda _: claim("p-cache")).writes
    assert isinstance(write, Note)
    assert (write.reason, write.message) == (
        "FailedBinding",
        "ephemeral volume cache: PVC default/p-cache was not created for pod default/p (pod is not owner)",
    )


def test_a_pod_that_goes_gets_no_claim() -> None:
    going = pod("p", volumes=[VOLUME])
    going["metadata"]["deletionTimestamp"] = "2030-01-01T00:00:00Z"
    assert decide_ephemeral(going, lambda _: None).writes == []


@pytest.mark.parametrize(
    ("found", "why"),
    [
        ([], 'waiting for ephemeral volume controller to create the persistentvolumeclaim "p-cache"'),
        ([claim("p-cache")], "PVC default/p-cache was not created for pod default/p (pod is not owner)"),
        ([owned("uid-p")], "pod has unbound immediate PersistentVolumeClaims"),
    ],
)
def test_the_scheduler_waits_for_the_pods_own_claim(found: list[Object], why: str) -> None:
    seen = take_snapshot([node("n")], [], claims=found, classes=[CLASS])
    verdict = decide_placement(pod("p", volumes=[VOLUME]), seen)
    assert isinstance(verdict, Unschedulable)
    assert f"0/1 nodes are available: {why}. " in verdict.message


async def test_the_claim_comes_with_the_pod_and_goes_with_it(cluster: Cluster) -> None:
    metadata = {"name": "p", "namespace": "default"}
    await cluster.create(PODS, {"metadata": metadata, "spec": pod_spec(volumes=[VOLUME])})
    made = await cluster.until_that(CLAIMS, "p-cache", lambda c: c["status"].get("phase") == "Pending")
    await cluster.delete(CLAIMS, "p-cache")
    await cluster.until_that(CLAIMS, "p-cache", lambda c: c["metadata"]["uid"] != made["metadata"]["uid"])
    await cluster.delete(PODS, "p", gracePeriodSeconds=0)
    await cluster.until_gone(CLAIMS, "p-cache")


async def test_a_pod_deleted_in_the_foreground_does_not_wait_for_its_claim_for_ever(cluster: Cluster) -> None:
    metadata = {"name": "p", "namespace": "default"}
    spec = pod_spec(volumes=[VOLUME]) | {"nodeName": "n"}
    await cluster.create(PODS, {"metadata": metadata, "spec": spec})
    await cluster.until_that(CLAIMS, "p-cache", lambda c: c["status"].get("phase") == "Pending")
    await cluster.delete(PODS, "p", gracePeriodSeconds=0, propagationPolicy="Foreground")
    await cluster.until_gone(PODS, "p")
    await cluster.until_gone(CLAIMS, "p-cache")


@pytest.mark.parametrize(
    ("volume", "grace", "held"),
    [
        (VOLUME, 30, True),
        (VOLUME, 0, False),
        ({"name": "c", "persistentVolumeClaim": {"claimName": "p-cache"}}, 0, True),
    ],
)
def test_a_pod_that_is_shut_down_holds_no_claim_of_its_own(volume: Object, grace: int, held: bool) -> None:
    going = pod("p", volumes=[volume], nodeName="n")
    going["metadata"] |= {"deletionTimestamp": "2030-01-01T00:00:00Z", "deletionGracePeriodSeconds": grace}
    assert holds(going, "p-cache") is held
