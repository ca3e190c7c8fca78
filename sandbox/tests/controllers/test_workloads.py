"""Deployments, ReplicaSets, StatefulSets, DaemonSets over the API."""

from __future__ import annotations

import asyncio
import ipaddress
import time

from slipway_sandbox.apiclient import ApiError
from slipway_sandbox.controllers.objects import (
    CLAIMS,
    DAEMON_SETS,
    DEPLOYMENTS,
    NODES,
    PODS,
    REPLICA_SETS,
    STATEFUL_SETS,
    Object,
    condition_of,
    status_of,
)
from tests.controllers.conftest import PAUSE, Cluster, deployment, pod_spec
from tests.controllers.control_plane import ours_only


def complete(item: Object) -> bool:
    progressing = condition_of(item, "Progressing") or {}
    status = status_of(item)
    return (
        progressing.get("reason") == "NewReplicaSetAvailable"
        and status.get("observedGeneration") == item["metadata"]["generation"]
        and status.get("availableReplicas", 0) == status.get("updatedReplicas", 0) == item["spec"]["replicas"]
    )


def started(pod: Object) -> ipaddress.IPv4Address:
    """In which order pods were started: the kubelet gives addresses by it. Their last writes need not follow it."""
    return ipaddress.IPv4Address(status_of(pod)["podIP"])


async def test_a_deployment_becomes_complete_and_available(cluster: Cluster) -> None:
    await cluster.node("a")
    await cluster.create(DEPLOYMENTS, deployment("web", 2))
    done = await cluster.until_that(DEPLOYMENTS, "web", complete)
    assert condition_of(done, "Available")["status"] == "True"  # type: ignore[index]
    assert done["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "1"


async def test_a_pod_of_a_new_deployment_is_scheduled_within_a_moment(cluster: Cluster) -> None:
    await cluster.node("a")
    await cluster.create(DEPLOYMENTS, deployment("warm-up"))
    await cluster.until_that(DEPLOYMENTS, "warm-up", complete)
    begun = time.monotonic()
    await cluster.create(DEPLOYMENTS, deployment("web"))

    async def placed() -> bool:
        pods = await cluster.all(PODS, labelSelector="app=web")
        return bool(pods and pods[0]["spec"].get("nodeName"))

    await cluster.until(placed, "the pod is placed")
    assert time.monotonic() - begun < 3  # 0.05 s on an idle machine


async def test_a_new_template_replaces_the_pods_and_keeps_the_old_set(cluster: Cluster) -> None:
    await cluster.node("a")
    await cluster.create(DEPLOYMENTS, deployment("web", 3))
    await cluster.until_that(DEPLOYMENTS, "web", complete)
    template = {"spec": {"containers": [{"name": "main", "image": "registry.k8s.io/pause:3.9"}]}}
    await cluster.patch(DEPLOYMENTS, "web", {"spec": {"template": template}})
    done = await cluster.until_that(DEPLOYMENTS, "web", complete)
    assert done["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "2"
    sizes = sorted(item["spec"]["replicas"] for item in await cluster.all(REPLICA_SETS))
    assert sizes == [0, 3]


async def test_recreate_never_runs_old_and_new_together(cluster: Cluster) -> None:
    cluster.kubelet.linger = True
    await cluster.node("a")
    await cluster.create(DEPLOYMENTS, deployment("web", strategy={"type": "Recreate"}))
    await cluster.until_that(DEPLOYMENTS, "web", complete)
    template = {"spec": {"containers": [{"name": "main", "image": "registry.k8s.io/pause:3.9"}]}}
    await cluster.patch(DEPLOYMENTS, "web", {"spec": {"template": template}})

    async def leaving() -> Object | None:
        pods = await cluster.all(PODS)
        return pods[0] if pods[0]["metadata"].get("deletionTimestamp") else None

    old = await cluster.until(leaving, "the old pod is told to go")
    assert len(await cluster.all(PODS)) == 1
    assert len(await cluster.all(REPLICA_SETS)) == 1
    cluster.kubelet.linger = False
    await cluster.delete(PODS, old["metadata"]["name"], gracePeriodSeconds=0)
    await cluster.until_that(DEPLOYMENTS, "web", complete)


async def test_a_deployment_that_does_not_progress_says_so(cluster: Cluster) -> None:
    await cluster.create(DEPLOYMENTS, deployment("web", progressDeadlineSeconds=1))
    late = await cluster.until_that(
        DEPLOYMENTS, "web", lambda d: (condition_of(d, "Progressing") or {}).get("status") == "False"
    )
    assert condition_of(late, "Progressing")["reason"] == "ProgressDeadlineExceeded"  # type: ignore[index]


async def test_a_deployment_scaled_to_zero_has_no_pods(cluster: Cluster) -> None:
    await cluster.node("a")
    await cluster.create(DEPLOYMENTS, deployment("web", 2))
    await cluster.until_that(DEPLOYMENTS, "web", complete)
    await cluster.patch(DEPLOYMENTS, "web", {"spec": {"replicas": 0}}, "scale")

    async def none_left() -> bool:
        return not await cluster.all(PODS)

    await cluster.until(none_left, "no pods are left")
    await cluster.until_that(DEPLOYMENTS, "web", lambda d: not status_of(d).get("replicas"))


@ours_only("a real control plane has no fault switches")
async def test_conflicts_of_the_api_do_not_stop_a_rollout(cluster: Cluster) -> None:
    await cluster.node("a")
    cluster.faults.set("api-conflict", count=10)
    await cluster.create(DEPLOYMENTS, deployment("web", 2))
    await cluster.until_that(DEPLOYMENTS, "web", complete)


async def test_a_pod_deleted_by_hand_is_replaced(cluster: Cluster) -> None:
    await cluster.node("a")
    await cluster.create(DEPLOYMENTS, deployment("web"))
    await cluster.until_that(DEPLOYMENTS, "web", complete)
    (old,) = await cluster.all(PODS)
    await cluster.delete(PODS, old["metadata"]["name"], gracePeriodSeconds=0)

    async def another() -> bool:
        pods = await cluster.all(PODS)
        return len(pods) == 1 and pods[0]["metadata"]["uid"] != old["metadata"]["uid"]

    await cluster.until(another, "another pod is there")


async def test_a_stateful_set_makes_its_pods_in_order(cluster: Cluster) -> None:
    await cluster.node("a")
    labels = {"app": "db"}
    body = {
        "metadata": {"name": "db", "namespace": "default"},
        "spec": {
            "serviceName": "db",
            "replicas": 2,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod_spec()},
        },
    }
    await cluster.create(STATEFUL_SETS, body)
    done = await cluster.until_that(STATEFUL_SETS, "db", lambda s: status_of(s).get("readyReplicas") == 2)
    assert done["status"]["currentRevision"] == done["status"]["updateRevision"]
    first, second = sorted(await cluster.all(PODS), key=lambda pod: str(pod["metadata"]["name"]))
    assert first["metadata"]["name"] == "db-0"
    assert second["metadata"]["name"] == "db-1"
    assert started(first) < started(second)


async def test_a_daemon_set_runs_on_each_fitting_node_and_follows_new_ones(cluster: Cluster) -> None:
    await cluster.node(
        "gpu-a", labels={"pool": "gpu"}, taints=[{"key": "g", "value": "y", "effect": "NoSchedule"}]
    )
    await cluster.node("cpu-a", labels={"pool": "cpu"})
    labels = {"app": "plugin"}
    spec = pod_spec(nodeSelector={"pool": "gpu"}, tolerations=[{"key": "g", "operator": "Exists"}])
    body = {
        "metadata": {"name": "plugin", "namespace": "default"},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": spec},
        },
    }
    await cluster.create(DAEMON_SETS, body)
    await cluster.until_that(DAEMON_SETS, "plugin", lambda d: status_of(d).get("numberAvailable") == 1)
    await cluster.node("gpu-b", labels={"pool": "gpu"})
    done = await cluster.until_that(DAEMON_SETS, "plugin", lambda d: status_of(d).get("numberAvailable") == 2)
    assert done["status"]["desiredNumberScheduled"] == 2
    assert {pod["spec"]["nodeName"] for pod in await cluster.all(PODS)} == {"gpu-a", "gpu-b"}


async def test_a_daemon_pod_of_a_node_that_is_gone_is_removed(cluster: Cluster) -> None:
    await cluster.node("a")
    labels = {"app": "agent"}
    body = {
        "metadata": {"name": "agent", "namespace": "default"},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod_spec()},
        },
    }
    await cluster.create(DAEMON_SETS, body)
    await cluster.until_that(DAEMON_SETS, "agent", lambda d: status_of(d).get("numberAvailable") == 1)
    cluster.kubelet.linger = True
    await cluster.delete(NODES, "a")

    async def none_left() -> bool:
        return not await cluster.all(PODS)

    await cluster.until(none_left, "the pod is gone without a kubelet")


async def test_a_stateful_set_gives_each_pod_a_claim_that_outlives_it(cluster: Cluster) -> None:
    requests = {"requests": {"storage": "1Gi"}}
    claim = {
        "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "none", "resources": requests},
    }
    labels = {"app": "db"}
    spec = {
        "serviceName": "db",
        "replicas": 1,
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": pod_spec()},
        "volumeClaimTemplates": [claim],
    }
    await cluster.create(STATEFUL_SETS, {"metadata": {"name": "db", "namespace": "default"}, "spec": spec})
    pod = await cluster.until_that(PODS, "db-0", lambda p: True)
    volume = {"name": "data", "persistentVolumeClaim": {"claimName": "data-db-0"}}
    assert volume in pod["spec"]["volumes"]
    await cluster.delete(STATEFUL_SETS, "db")
    await cluster.until_gone(PODS, "db-0")
    assert await cluster.get(CLAIMS, "data-db-0") is not None


@ours_only("pods here go faster than a real controller's copies follow: it was seen to make db-1 twice")
async def test_a_stateful_set_renews_its_pods_from_the_last_to_the_first(cluster: Cluster) -> None:
    await cluster.node("a")
    labels = {"app": "db"}
    template = {"metadata": {"labels": labels}, "spec": pod_spec()}
    spec = {"serviceName": "db", "replicas": 2, "selector": {"matchLabels": labels}, "template": template}
    await cluster.create(STATEFUL_SETS, {"metadata": {"name": "db", "namespace": "default"}, "spec": spec})
    first = await cluster.until_that(STATEFUL_SETS, "db", lambda s: status_of(s).get("readyReplicas") == 2)
    container = {"name": "main", "image": "registry.k8s.io/pause:3.9"}
    await cluster.patch(STATEFUL_SETS, "db", {"spec": {"template": {"spec": {"containers": [container]}}}})
    done = await cluster.until_that(
        STATEFUL_SETS,
        "db",
        lambda s: (
            status_of(s).get("updatedReplicas") == status_of(s).get("readyReplicas") == 2
            and status_of(s)["currentRevision"] != status_of(first)["currentRevision"]
        ),
    )
    assert status_of(done)["currentRevision"] == status_of(done)["updateRevision"]
    pods = {pod["metadata"]["name"]: pod for pod in await cluster.all(PODS)}
    assert started(pods["db-1"]) < started(pods["db-0"])


async def test_a_daemon_set_replaces_its_pods_when_its_template_changes(cluster: Cluster) -> None:
    await cluster.node("a")
    await cluster.node("b")
    labels = {"app": "agent"}
    template = {"metadata": {"labels": labels}, "spec": pod_spec()}
    spec = {"selector": {"matchLabels": labels}, "template": template}
    await cluster.create(DAEMON_SETS, {"metadata": {"name": "agent", "namespace": "default"}, "spec": spec})
    await cluster.until_that(DAEMON_SETS, "agent", lambda d: status_of(d).get("numberAvailable") == 2)
    container = {"name": "main", "image": "registry.k8s.io/pause:3.9"}
    await cluster.patch(DAEMON_SETS, "agent", {"spec": {"template": {"spec": {"containers": [container]}}}})
    await cluster.until_that(
        DAEMON_SETS,
        "agent",
        lambda d: (
            status_of(d).get("observedGeneration") == 2
            and status_of(d).get("updatedNumberScheduled") == status_of(d).get("numberAvailable") == 2
        ),
    )
    images = {pod["spec"]["containers"][0]["image"] for pod in await cluster.all(PODS)}
    assert images == {"registry.k8s.io/pause:3.9"}


async def test_a_rollback_takes_the_old_set_up_again_with_a_new_revision(cluster: Cluster) -> None:
    await cluster.node("a")
    await cluster.create(DEPLOYMENTS, deployment("web"))
    await cluster.until_that(DEPLOYMENTS, "web", complete)
    for image in ("registry.k8s.io/pause:3.9", PAUSE):
        template = {"spec": {"containers": [{"name": "main", "image": image}]}}
        await cluster.patch(DEPLOYMENTS, "web", {"spec": {"template": template}})
        done = await cluster.until_that(DEPLOYMENTS, "web", complete)
    assert done["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "3"
    sets = await cluster.all(REPLICA_SETS)
    assert sorted(s["metadata"]["annotations"]["deployment.kubernetes.io/revision"] for s in sets) == [
        "2",
        "3",
    ]


async def test_old_sets_beyond_the_history_limit_go(cluster: Cluster) -> None:
    await cluster.node("a")
    await cluster.create(DEPLOYMENTS, deployment("web", revisionHistoryLimit=1))
    for number in range(3):
        template = {"spec": {"containers": [{"name": "main", "image": f"registry.k8s.io/pause:3.{number}"}]}}
        await cluster.until_that(DEPLOYMENTS, "web", complete)
        await cluster.patch(DEPLOYMENTS, "web", {"spec": {"template": template}})

    async def trimmed() -> bool:
        return len(await cluster.all(REPLICA_SETS)) == 2

    await cluster.until_that(DEPLOYMENTS, "web", complete)
    await cluster.until(trimmed, "one old set is left")


@ours_only("a real control plane has no fault switches")
async def test_failures_of_the_api_are_outlived(cluster: Cluster) -> None:
    await cluster.node("a")
    cluster.faults.set("api-500", count=15, probability=0.3)
    async with asyncio.timeout(10):
        while True:
            try:
                await cluster.create(DEPLOYMENTS, deployment("web", 2))
            except ApiError as error:
                if error.code == 409:
                    break
                continue
            break
        while cluster.faults.active():
            await asyncio.sleep(0.05)
            try:
                await cluster.get(DEPLOYMENTS, "web")
            except ApiError:
                continue
    await cluster.until_that(DEPLOYMENTS, "web", complete)
