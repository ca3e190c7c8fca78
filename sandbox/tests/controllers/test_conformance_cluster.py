"""What is said of claims, volumes, jobs, budgets, endpoints and nodes: also to be held against a real control plane."""

from __future__ import annotations

from typing import Any

import pytest

from slipway_sandbox.controllers.objects import (
    CLAIMS,
    ENDPOINT_SLICES,
    EVENTS,
    JOBS,
    NODES,
    PODS,
    SERVICES,
    STORAGE_CLASSES,
    VOLUMES,
    Object,
    condition_is,
    is_deleting,
    name_of,
    status_of,
    uid_of,
)
from tests.controllers.conftest import Cluster, pod_spec
from tests.controllers.test_cluster import service
from tests.controllers.test_jobs import job
from tests.controllers.test_scheduling import claim, claiming_pod, volume

BINDER = "persistentvolume-controller"
ASKED = (
    "Waiting for a volume to be created either by the external provisioner 'ebs.csi.aws.com' or manually by the system "
    "administrator. If volume creation is delayed, please verify that the provisioner is running and correctly registered."
)


@pytest.mark.parametrize(
    ("made", "named", "kind", "reason", "message"),
    [
        ({}, "gp3", "Warning", "ProvisioningFailed", 'storageclass.storage.k8s.io "gp3" not found'),
        ({}, "", "Normal", "FailedBinding",
         "no persistent volumes available for this claim and no storage class is set"),
        ({"provisioner": "ebs.csi.aws.com", "volumeBindingMode": "Immediate"}, "gp3", "Normal", "ExternalProvisioning",
         ASKED),
        ({"provisioner": "ebs.csi.aws.com", "volumeBindingMode": "WaitForFirstConsumer"}, "gp3", "Normal",
         "WaitForFirstConsumer", "waiting for first consumer to be created before binding"),
        ({"provisioner": "kubernetes.io/no-provisioner", "volumeBindingMode": "Immediate"}, "gp3", "Warning",
         "ProvisioningFailed", "no volume plugin matched name: kubernetes.io/no-provisioner"),
    ],
)  # fmt: skip
async def test_what_a_claim_waits_for(
    cluster: Cluster, made: Object, named: str, kind: str, reason: str, message: str
) -> None:
    if made:
        await cluster.create(STORAGE_CLASSES, {"metadata": {"name": "gp3"}, **made})
    await cluster.create(CLAIMS, claim("data", named))
    await cluster.until_said("PersistentVolumeClaim", (kind, reason, BINDER, message))
    waiting = await cluster.get(CLAIMS, "data") or {}
    assert status_of(waiting) == {"phase": "Pending"}
    asked = (waiting["metadata"].get("annotations") or {}).get("volume.kubernetes.io/storage-provisioner")
    assert asked == ("ebs.csi.aws.com" if reason == "ExternalProvisioning" else None)


async def test_a_bound_pair_names_each_other_and_tells_when(cluster: Cluster) -> None:
    await cluster.create(VOLUMES, volume("pv", "", "us-east-1a"))
    made = await cluster.create(CLAIMS, claim("data", ""))
    bound = await cluster.until_that(CLAIMS, "data", lambda c: status_of(c).get("phase") == "Bound")
    taken = await cluster.until_that(VOLUMES, "pv", lambda v: status_of(v).get("phase") == "Bound")
    assert status_of(bound) == {
        "phase": "Bound",
        "accessModes": ["ReadWriteOnce"],
        "capacity": {"storage": "1Gi"},
    }
    assert bound["metadata"]["annotations"] == {
        "pv.kubernetes.io/bind-completed": "yes",
        "pv.kubernetes.io/bound-by-controller": "yes",
    }
    reference = {name: taken["spec"]["claimRef"][name] for name in ("kind", "namespace", "name", "uid")}
    assert reference == {
        "kind": "PersistentVolumeClaim",
        "namespace": "default",
        "name": "data",
        "uid": uid_of(made),
    }
    assert taken["metadata"]["finalizers"] == ["kubernetes.io/pv-protection"]
    assert status_of(taken)["lastPhaseTransitionTime"]


async def test_a_claim_that_lost_its_volume_lost_what_it_had_given(cluster: Cluster) -> None:
    await cluster.create(VOLUMES, volume("pv", "", "us-east-1a"))
    await cluster.create(CLAIMS, claim("data", ""))
    await cluster.until_that(CLAIMS, "data", lambda c: status_of(c).get("phase") == "Bound")
    await cluster.delete(VOLUMES, "pv")
    await cluster.patch(VOLUMES, "pv", {"metadata": {"finalizers": None}})
    lost = await cluster.until_that(CLAIMS, "data", lambda c: status_of(c).get("phase") == "Lost")
    assert status_of(lost) == {"phase": "Lost"}
    why = "Bound claim has lost its PersistentVolume. Data on the volume is lost!"
    await cluster.until_said("PersistentVolumeClaim", ("Warning", "ClaimLost", BINDER, why))


async def test_pods_a_job_gives_up_itself_do_not_count_as_failed(cluster: Cluster) -> None:
    await cluster.node("a")
    await cluster.create(JOBS, job("warm", completions=4, parallelism=2, backoffLimit=0))
    await cluster.until_that(JOBS, "warm", lambda j: status_of(j).get("ready") == 2)
    before = {name_of(pod) for pod in await cluster.all(PODS)}
    await cluster.patch(JOBS, "warm", {"spec": {"parallelism": 1}})

    async def one_left() -> set[str]:
        left = {name_of(pod) for pod in await cluster.all(PODS)}
        return left if len(left) == 1 else set()

    (dismissed,) = before - await cluster.until(one_left, "one pod is left")
    by = "job-controller"
    await cluster.until_said("Job", ("Normal", "SuccessfulDelete", by, f"Deleted pod: {dismissed}"))
    kept = await cluster.until_that(JOBS, "warm", lambda j: not status_of(j).get("terminating"))
    assert "failed" not in status_of(kept)


async def test_a_pod_a_job_has_counted_has_no_finalizer_left(cluster: Cluster) -> None:
    cluster.kubelet.ends["warm"] = "Succeeded"
    await cluster.node("a")
    await cluster.create(JOBS, job("warm"))
    await cluster.until_that(JOBS, "warm", lambda j: condition_is(j, "Complete"))
    (pod,) = await cluster.all(PODS)
    assert "finalizers" not in pod["metadata"]
    await cluster.until_said("Job", ("Normal", "Completed", "job-controller", "Job completed"))


async def test_a_job_whose_pod_is_refused_says_so(cluster: Cluster) -> None:
    body = job("warm")
    body["spec"]["template"]["spec"]["serviceAccountName"] = "nope"
    await cluster.create(JOBS, body)
    why = (
        'Error creating: pods "warm-" is forbidden: error looking up service account default/nope: '
        'serviceaccount "nope" not found'
    )
    await cluster.until_said("Job", ("Warning", "FailedCreate", "job-controller", why))


def budget(**spec: Any) -> Object:
    return {"metadata": {"name": "web"}, "spec": {"selector": {"matchLabels": {"app": "web"}}, **spec}}


async def test_a_service_without_pods_has_an_empty_slice(cluster: Cluster) -> None:
    await cluster.create(SERVICES, service("web"))

    async def slices() -> list[Object]:
        return await cluster.all(ENDPOINT_SLICES, labelSelector="kubernetes.io/service-name=web")

    (empty,) = await cluster.until(slices, "a slice")
    assert not empty["endpoints"] and not empty.get("ports")
    assert empty["metadata"]["generateName"] == "web-"
    assert empty["metadata"]["labels"] == {
        "kubernetes.io/service-name": "web",
        "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
    }


async def test_a_pod_with_a_name_of_its_own_under_a_headless_service_is_published_by_it(
    cluster: Cluster,
) -> None:
    await cluster.node("a")
    await cluster.create(SERVICES, service("web", clusterIP="None"))
    spec = pod_spec(hostname="first", subdomain="web")
    await cluster.create(PODS, {"metadata": {"name": "p", "labels": {"app": "web"}}, "spec": spec})

    async def named() -> bool:
        slices = await cluster.all(ENDPOINT_SLICES)
        return [e.get("hostname") for s in slices for e in s.get("endpoints") or []] == ["first"]

    await cluster.until(named, "the slice has the name")


async def test_nodes_that_come_and_go_are_told(cluster: Cluster) -> None:
    made = await cluster.node("fresh")
    by = "node-controller"
    said = "Node fresh event: Registered Node fresh in Controller"
    await cluster.until_said("Node", ("Normal", "RegisteredNode", by, said))
    (event,) = await cluster.events("RegisteredNode")
    involved = {"apiVersion": "v1", "kind": "Node", "name": "fresh", "uid": uid_of(made)}
    assert event["involvedObject"] == involved
    await cluster.delete(NODES, "fresh")
    said = "Node fresh event: Removing Node fresh from Controller"
    await cluster.until_said("Node", ("Normal", "RemovingNode", by, said))


async def test_a_cordoned_node_is_tainted_with_the_moment(cluster: Cluster) -> None:
    await cluster.node("a")
    await cluster.patch(NODES, "a", {"spec": {"unschedulable": True}})
    cordoned = await cluster.until_that(NODES, "a", lambda n: n["spec"].get("taints"))
    (taint,) = cordoned["spec"]["taints"]
    assert (taint["key"], taint["effect"]) == ("node.kubernetes.io/unschedulable", "NoSchedule")
    assert taint["timeAdded"]


async def test_an_eviction_by_taint_is_told_by_the_pods_name_and_so_is_that_it_is_off(
    cluster: Cluster,
) -> None:
    await cluster.node("a")
    for_a_while = {"key": "gone", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}
    for name, tolerations in (("p", []), ("q", [for_a_while])):
        spec = pod_spec(tolerations=tolerations)
        await cluster.create(PODS, {"metadata": {"name": name, "namespace": "default"}, "spec": spec})
        await cluster.until_that(PODS, name, lambda p: status_of(p).get("phase") == "Running")
    cluster.kubelet.linger = True
    await cluster.patch(NODES, "a", {"spec": {"taints": [{"key": "gone", "effect": "NoExecute"}]}})
    await cluster.until_that(PODS, "p", is_deleting)
    by = "taint-eviction-controller"
    await cluster.until_said(
        "Pod", ("Normal", "TaintManagerEviction", by, "Marking for deletion Pod default/p")
    )
    await cluster.patch(NODES, "a", {"spec": {"taints": None}})
    await cluster.until_said(
        "Pod", ("Normal", "TaintManagerEviction", by, "Cancelling deletion of Pod default/q")
    )
    for event in await cluster.all(EVENTS):
        if event["reason"] == "TaintManagerEviction":
            assert set(event["involvedObject"]) == {"apiVersion", "kind", "name", "namespace"}


async def test_a_claim_in_use_that_is_deleted_keeps_its_finalizer(cluster: Cluster) -> None:
    await cluster.node("a", labels={"topology.kubernetes.io/zone": "us-east-1a"})
    await cluster.create(VOLUMES, volume("pv", "", "us-east-1a"))
    await cluster.create(CLAIMS, claim("data", ""))
    await cluster.create(PODS, claiming_pod("p", "data"))
    await cluster.until_that(PODS, "p", lambda p: p["spec"].get("nodeName"))
    await cluster.delete(CLAIMS, "data")
    going = await cluster.until_that(CLAIMS, "data", is_deleting)
    assert going["metadata"]["finalizers"] == ["kubernetes.io/pvc-protection"]
    assert status_of(going)["phase"] == "Bound"
