"""Controllers, scheduler and nodes together: replicas that each start on a clone of one warmed volume, in any zone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from functools import partial
from typing import Any

import pytest
import pytest_asyncio

from slipway_sandbox.apiclient import Object
from slipway_sandbox.controllers import run_controllers
from slipway_sandbox.settings import Settings
from tests.nodes.conftest import BUSYBOX, Region, control_plane, eventually, nodes_of
from tests.nodes.test_lifecycle import shell
from tests.nodes.test_snapshots import API, at, from_snapshot, kind, served, until_ready
from tests.nodes.test_volumes import MOUNTS, install_driver, make_class, using

pytestmark = pytest.mark.asyncio(loop_scope="session")

CLAIM: Object = {
    "storageClassName": "gp3",
    "accessModes": ["ReadWriteOnce"],
    "resources": {"requests": {"storage": "2Gi"}},
}


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def whole(settings: Settings) -> AsyncIterator[Region]:
    """A cluster with everything a control plane has, a node in each of two zones, and both storage add-ons."""
    async with control_plane(settings, "clones") as region, nodes_of(region):
        controllers = asyncio.create_task(run_controllers(region.client, region.faults))
        await make_class(region)
        await region.make_group("both", 2, "m6i.2xlarge")  # add-ons without a node are DEGRADED
        await install_driver(region)
        await region.add_on("snapshot-controller")
        await eventually(lambda: served(region), lambda found: found)
        yield region
        controllers.cancel()
        with suppress(asyncio.CancelledError):
            await controllers


async def warm_snapshot(region: Region) -> None:
    """A claim is filled by a pod, and a snapshot is taken of it."""
    client = region.client
    body = {"metadata": {"name": "cache"}, "spec": CLAIM}
    await client.create(region.path("persistentvolumeclaims"), body)
    once: dict[str, Any] = {"restartPolicy": "Never", "volumes": using("cache")}
    container = {"name": "c0", "image": BUSYBOX, **shell("echo weights > /data/model", volumeMounts=MOUNTS)}
    warmer = {"metadata": {"name": "warmer"}, "spec": {"containers": [container], **once}}
    await client.create(region.path("pods"), warmer)
    await region.until_phase("warmer", "Succeeded", 20)
    policy = {"driver": "ebs.csi.aws.com", "deletionPolicy": "Delete"}
    classes = client.path(API, "volumesnapshotclasses")
    await client.create(classes, {**kind("VolumeSnapshotClass"), "metadata": {"name": "ebs"}, **policy})
    spec = {"volumeSnapshotClassName": "ebs", "source": {"persistentVolumeClaimName": "cache"}}
    path = client.path(API, "volumesnapshots", region.namespace)
    await client.create(path, {**kind("VolumeSnapshot"), "metadata": {"name": "warm"}, "spec": spec})
    await until_ready(region, "warm")


def replicas(count: int) -> Object:
    """A Deployment whose pods each have an ephemeral clone, on nodes of different zones."""
    labels = {"app": "clones"}
    template = {"spec": CLAIM | {"dataSource": from_snapshot("warm")}}
    apart = {"topologyKey": "topology.kubernetes.io/zone", "labelSelector": {"matchLabels": labels}}
    container = {
        "name": "c0",
        "image": BUSYBOX,
        **shell("cat /data/model; echo $HOSTNAME >> /data/model; sleep 300", volumeMounts=MOUNTS),
    }
    spec = {
        "terminationGracePeriodSeconds": 1,
        "containers": [container],
        "volumes": [{"name": "data", "ephemeral": {"volumeClaimTemplate": template}}],
        "affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [apart]}},
    }
    return {
        "metadata": {"name": "clones"},
        "spec": {
            "replicas": count,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": spec},
        },
    }


async def test_each_replica_starts_on_its_own_clone_and_leaves_nothing_behind(whole: Region) -> None:
    client = whole.client
    await warm_snapshot(whole)
    deployments = client.path("apps/v1", "deployments", whole.namespace)
    await client.create(deployments, replicas(2))

    async def pods() -> list[Object]:
        return await client.list(whole.path("pods"), labelSelector="app=clones")

    running = await eventually(
        pods, lambda found: len(found) == 2 and all(p["status"]["phase"] == "Running" for p in found), 20
    )
    assert len({pod["spec"]["nodeName"] for pod in running}) == 2
    for pod in running:
        name = pod["metadata"]["name"]
        await eventually(partial(whole.log, name), lambda text: text == "weights\n")
        claim = await client.get(whole.path("persistentvolumeclaims", f"{name}-data"))
        assert claim is not None
        assert claim["metadata"]["ownerReferences"][0]["uid"] == pod["metadata"]["uid"]

    zones = {v["AvailabilityZone"] for v in clones(whole)}
    assert zones == {"us-east-1a", "us-east-1b"}

    await client.delete(f"{deployments}/clones")
    await eventually(lambda: asyncio.to_thread(clones, whole), lambda volumes: volumes == [], 20)
    left = await client.list(whole.path("persistentvolumeclaims"))
    assert [claim["metadata"]["name"] for claim in left] == ["cache"]
    assert await client.get(at(whole, "warm")) is not None


def clones(region: Region) -> list[Any]:
    """The EC2 volumes of this cluster that began as a snapshot."""
    mine = [{"Name": "tag-key", "Values": [f"kubernetes.io/cluster/{region.cluster}"]}]
    volumes = region.aws("ec2").describe_volumes(Filters=mine)["Volumes"]
    return [volume for volume in volumes if volume.get("SnapshotId")]


async def test_a_jobs_pods_end_and_go_although_they_are_tracked(whole: Region) -> None:
    client, jobs = whole.client, whole.client.path("batch/v1", "jobs", whole.namespace)
    container = {"name": "c0", "image": BUSYBOX, **shell("exit 1")}
    rules = [{"action": "FailJob", "onExitCodes": {"operator": "In", "values": [1]}}]
    template = {"spec": {"restartPolicy": "Never", "containers": [container]}}
    spec = {"completions": 2, "parallelism": 2, "template": template}
    body = {"metadata": {"name": "tracked"}, "spec": {**spec, "podFailurePolicy": {"rules": rules}}}
    await client.create(jobs, body)

    async def conditions() -> list[str]:
        job = await client.get(f"{jobs}/tracked")
        assert job is not None
        return [c["reason"] for c in job.get("status", {}).get("conditions") or [] if c["type"] == "Failed"]

    assert await eventually(conditions, bool, 20) == ["PodFailurePolicy"]
    await client.delete(f"{jobs}/tracked", propagationPolicy="Foreground")

    async def pods() -> list[Object]:
        return await client.list(whole.path("pods"), labelSelector="job-name=indexed")

    await eventually(pods, lambda left: left == [], 20)
