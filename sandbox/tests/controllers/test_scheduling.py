"""The scheduler over the API: what makes a pod wait, what it says, what wakes it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from slipway_sandbox.controllers.objects import (
    CLAIMS,
    NODES,
    PODS,
    STORAGE_CLASSES,
    VOLUMES,
    Object,
    condition_of,
    status_of,
)
from tests.controllers.conftest import PAUSE, Cluster, pod_spec
from tests.controllers.control_plane import ours_only
from tests.controllers.wording import words

GPU_TAINT = {"key": "nvidia.com/gpu", "value": "true", "effect": "NoSchedule"}


def gpu_pod(name: str, gpus: int = 1) -> Object:
    container = {"name": "main", "image": PAUSE, "resources": {"limits": {"nvidia.com/gpu": str(gpus)}}}
    tolerations = [{"key": "nvidia.com/gpu", "operator": "Exists"}]
    spec = {"containers": [container], "tolerations": tolerations}
    return {"metadata": {"name": name, "namespace": "default"}, "spec": spec}


def claiming_pod(name: str, claim: str) -> Object:
    volumes = [{"name": "data", "persistentVolumeClaim": {"claimName": claim}}]
    return {"metadata": {"name": name, "namespace": "default"}, "spec": pod_spec(volumes=volumes)}


def claim(name: str, storage_class: str) -> Object:
    spec = {
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": storage_class,
        "resources": {"requests": {"storage": "1Gi"}},
    }
    return {"metadata": {"name": name, "namespace": "default"}, "spec": spec}


def volume(name: str, storage_class: str, zone: str, claim_name: str | None = None) -> Object:
    requirement = {"key": "topology.kubernetes.io/zone", "operator": "In", "values": [zone]}
    spec: Object = {
        "capacity": {"storage": "1Gi"},
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": storage_class,
        "persistentVolumeReclaimPolicy": "Delete",
        "csi": {"driver": "ebs.csi.aws.com", "volumeHandle": f"vol-{name}"},
        "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [requirement]}]}},
    }
    if claim_name:
        spec["claimRef"] = {"kind": "PersistentVolumeClaim", "namespace": "default", "name": claim_name}
    return {"metadata": {"name": name}, "spec": spec}


async def storage_class(cluster: Cluster, mode: str) -> None:
    body = {"metadata": {"name": "gp3"}, "provisioner": "ebs.csi.aws.com", "volumeBindingMode": mode}
    await cluster.create(STORAGE_CLASSES, body)


def placed(pod: Object) -> bool:
    return bool(pod["spec"].get("nodeName"))


def refused(pod: Object) -> bool:
    return (condition_of(pod, "PodScheduled") or {}).get("status") == "False"


async def test_a_pod_that_fits_nowhere_says_why_in_the_schedulers_words(cluster: Cluster) -> None:
    await cluster.node("cpu-a", labels={"pool": "cpu"})
    await cluster.node("gpu-a", taints=[GPU_TAINT], gpus=1)
    await cluster.node("gpu-b", taints=[GPU_TAINT], gpus=1)
    pod = gpu_pod("p")
    del pod["spec"]["tolerations"]
    await cluster.create(PODS, pod)
    waiting = await cluster.until_that(PODS, "p", refused)
    condition = condition_of(waiting, "PodScheduled")
    assert condition is not None
    assert condition["reason"] == "Unschedulable"
    assert condition["message"] == await words(
        cluster.client,
        "0/3 nodes are available: 1 Insufficient nvidia.com/gpu, 2 node(s) had untolerated taint "
        "{nvidia.com/gpu: true}. preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling.",
    )
    (event,) = await cluster.until(lambda: cluster.events("FailedScheduling"), "the event")
    assert event["message"] == condition["message"]
    assert event["type"] == "Warning"


async def test_a_waiting_pod_is_placed_when_its_node_comes(cluster: Cluster) -> None:
    await cluster.create(PODS, gpu_pod("p"))
    waiting = await cluster.until_that(PODS, "p", refused)
    assert condition_of(waiting, "PodScheduled")["message"] == "no nodes available to schedule pods"  # type: ignore[index]
    await cluster.node("gpu-a", taints=[GPU_TAINT], gpus=1)
    done = await cluster.until_that(PODS, "p", placed)
    assert condition_of(done, "PodScheduled")["status"] == "True"  # type: ignore[index]
    (event,) = await cluster.until(lambda: cluster.events("Scheduled"), "the event")
    assert event["message"] == "Successfully assigned default/p to gpu-a"


async def test_a_gpu_is_given_once_and_again_when_it_is_free(cluster: Cluster) -> None:
    await cluster.node("gpu-a", gpus=1)
    await cluster.create(PODS, gpu_pod("first"))
    await cluster.until_that(PODS, "first", placed)
    await cluster.create(PODS, gpu_pod("second"))
    await cluster.until_that(PODS, "second", refused)
    await cluster.delete(PODS, "first", gracePeriodSeconds=0)
    await cluster.until_that(PODS, "second", placed)


async def test_a_waiting_pod_notices_a_device_plugin(cluster: Cluster) -> None:
    await cluster.node("gpu-a")
    await cluster.create(PODS, gpu_pod("p"))
    await cluster.until_that(PODS, "p", refused)
    await cluster.patch(NODES, "gpu-a", {"status": {"allocatable": {"nvidia.com/gpu": "1"}}}, "status")
    await cluster.until_that(PODS, "p", placed)


@ours_only("a real scheduler tries a pod again only where the change may help it")
async def test_the_same_failure_makes_a_series_instead_of_more_events(cluster: Cluster) -> None:
    await cluster.node("a")
    await cluster.create(PODS, gpu_pod("p"))
    await cluster.until_that(PODS, "p", refused)
    for number in range(3):
        await cluster.patch(NODES, "a", {"metadata": {"labels": {"turn": str(number)}}})
        await asyncio.sleep(0.3)

    async def in_series() -> bool:
        events = await cluster.events("FailedScheduling")
        # The first was about the pod as it was made; the others about the pod with its condition.
        return sorted((e.get("series") or {}).get("count", 1) for e in events) == [1, 2]

    await cluster.until(in_series, "a second event becomes a series")


async def test_many_pods_spread_over_the_nodes(cluster: Cluster) -> None:
    await cluster.node("a")
    await cluster.node("b")
    for number in range(6):
        await cluster.create(PODS, {"metadata": {"name": f"p{number}"}, "spec": pod_spec()})
    for number in range(6):
        await cluster.until_that(PODS, f"p{number}", placed)
    nodes = [pod["spec"]["nodeName"] for pod in await cluster.all(PODS)]
    assert sorted(nodes) == ["a"] * 3 + ["b"] * 3


async def test_a_cordoned_node_gets_no_pods(cluster: Cluster) -> None:
    await cluster.node("a")
    await cluster.patch(NODES, "a", {"spec": {"unschedulable": True}})
    await cluster.create(PODS, {"metadata": {"name": "p"}, "spec": pod_spec()})
    waiting = await cluster.until_that(PODS, "p", refused)
    assert "1 node(s) were unschedulable" in condition_of(waiting, "PodScheduled")["message"]  # type: ignore[index]
    await cluster.patch(NODES, "a", {"spec": {"unschedulable": None}})
    await cluster.until_that(PODS, "p", placed)


async def test_a_late_claim_is_bound_for_the_node_chosen_before_its_pod_is(cluster: Cluster) -> None:
    await storage_class(cluster, "WaitForFirstConsumer")
    await cluster.node("a", labels={"topology.kubernetes.io/zone": "us-east-1a"})
    await cluster.create(CLAIMS, claim("data", "gp3"))
    await cluster.create(PODS, claiming_pod("p", "data"))
    chosen = await cluster.until_that(
        CLAIMS,
        "data",
        lambda c: "volume.kubernetes.io/storage-provisioner" in (c["metadata"].get("annotations") or {}),
    )
    assert chosen["metadata"]["annotations"]["volume.kubernetes.io/selected-node"] == "a"
    assert not placed(await cluster.get(PODS, "p") or {})
    await cluster.create(VOLUMES, volume("pv", "gp3", "us-east-1a", "data"))  # as the CSI provisioner would
    await cluster.until_that(PODS, "p", placed)
    bound = await cluster.until_that(CLAIMS, "data", lambda c: status_of(c).get("phase") == "Bound")
    assert status_of(bound)["capacity"] == {"storage": "1Gi"}
    await cluster.until_that(VOLUMES, "pv", lambda v: status_of(v).get("phase") == "Bound")


async def test_a_pod_goes_to_the_zone_of_its_volume(cluster: Cluster) -> None:
    await cluster.node("a", labels={"topology.kubernetes.io/zone": "us-east-1a"})
    await cluster.create(CLAIMS, claim("data", ""))
    await cluster.create(VOLUMES, volume("pv", "", "us-east-1b"))
    await cluster.until_that(CLAIMS, "data", lambda c: status_of(c).get("phase") == "Bound")
    await cluster.create(PODS, claiming_pod("p", "data"))
    waiting = await cluster.until_that(PODS, "p", refused)
    message = condition_of(waiting, "PodScheduled")["message"]  # type: ignore[index]
    assert await words(cluster.client, "1 node(s) had volume node affinity conflict") in message
    await cluster.node("b", labels={"topology.kubernetes.io/zone": "us-east-1b"})
    done = await cluster.until_that(PODS, "p", placed)
    assert done["spec"]["nodeName"] == "b"


async def test_a_pod_waits_for_a_claim_that_is_missing(cluster: Cluster) -> None:
    await cluster.node("a")
    await cluster.create(PODS, claiming_pod("p", "data"))
    waiting = await cluster.until_that(PODS, "p", refused)
    assert condition_of(waiting, "PodScheduled")["message"] == await words(  # type: ignore[index]
        cluster.client,
        '0/1 nodes are available: persistentvolumeclaim "data" not found. '
        "preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.",
    )


async def test_a_claim_in_use_outlives_its_deletion_until_the_pod_goes(cluster: Cluster) -> None:
    await cluster.node("a", labels={"topology.kubernetes.io/zone": "us-east-1a"})
    await cluster.create(CLAIMS, claim("data", ""))
    await cluster.create(VOLUMES, volume("pv", "", "us-east-1a"))
    await cluster.create(PODS, claiming_pod("p", "data"))
    await cluster.until_that(PODS, "p", placed)
    await cluster.delete(CLAIMS, "data")
    await asyncio.sleep(0.2)
    assert await cluster.get(CLAIMS, "data") is not None
    await cluster.delete(PODS, "p", gracePeriodSeconds=0)
    await cluster.until_gone(CLAIMS, "data")
    await cluster.until_that(VOLUMES, "pv", lambda v: status_of(v).get("phase") == "Released")


async def test_a_pod_whose_node_goes_while_its_volume_is_made_is_placed_anew(cluster: Cluster) -> None:
    await storage_class(cluster, "WaitForFirstConsumer")
    await cluster.node("a")
    await cluster.create(CLAIMS, claim("data", "gp3"))
    await cluster.create(PODS, claiming_pod("p", "data"))

    def selected(node: str) -> Callable[[Object], bool]:
        name = "volume.kubernetes.io/selected-node"
        return lambda c: bool((c["metadata"].get("annotations") or {}).get(name) == node)

    await cluster.until_that(CLAIMS, "data", selected("a"))
    await cluster.delete(NODES, "a")
    why = (
        'running PreBind plugin "VolumeBinding": binding volumes: failed to get node "a": node "a" not found'
    )
    await cluster.until_said("Pod", ("Warning", "FailedScheduling", "default-scheduler", why))
    await cluster.node("b")
    # As the CSI provisioner would, which alone may take back a node that was chosen for a claim.
    await cluster.patch(
        CLAIMS, "data", {"metadata": {"annotations": {"volume.kubernetes.io/selected-node": None}}}
    )
    await cluster.until_that(CLAIMS, "data", selected("b"))
