"""Claims of the EBS CSI driver: made, tagged, attached to one node, and deleted, when the add-on may."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest
import pytest_asyncio

from slipway_sandbox.apiclient import ApiError, Object
from slipway_sandbox.nodes.ebs.requests import size_gib
from slipway_sandbox.settings import Settings
from tests.nodes.conftest import Region, control_plane, eventually, nodes_of
from tests.nodes.test_lifecycle import SLEEP, shell

pytestmark = pytest.mark.asyncio(loop_scope="session")

PARAMETERS = {
    "type": "gp3",
    "iops": "4000",
    "throughput": "500",
    "encrypted": "true",
    "tagSpecification_1": "team={{ .PVCNamespace }}",
}


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def storage_class(shared: Region) -> AsyncIterator[str]:
    await make_class(shared)
    yield "gp3"


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def driver(shared: Region, storage_class: str) -> AsyncIterator[str]:
    """The add-on with its identity; the storage class's name."""
    await install_driver(shared)
    yield storage_class


async def make_class(region: Region, name: str = "gp3", policy: str = "Delete") -> None:
    body = {
        "metadata": {"name": name},
        "provisioner": "ebs.csi.aws.com",
        "volumeBindingMode": "WaitForFirstConsumer",
        "allowVolumeExpansion": True,
        "reclaimPolicy": policy,
        "parameters": PARAMETERS,
    }
    with suppress(ApiError):  # another file made it
        await region.client.create(region.client.path("storage.k8s.io/v1", "storageclasses"), body)


async def install_driver(region: Region) -> None:
    eks, who = region.aws("eks"), {"namespace": "kube-system", "serviceAccount": "ebs-csi-controller-sa"}
    with suppress(eks.exceptions.ResourceInUseException):  # another file made it
        await asyncio.to_thread(
            eks.create_pod_identity_association, clusterName=region.cluster, roleArn=region.role, **who
        )
    await region.add_on("eks-pod-identity-agent")
    await region.add_on("aws-ebs-csi-driver")


async def claim(
    region: Region,
    size: str = "1500Mi",
    node: str = "",
    source: Object | None = None,
    its_class: str = "gp3",
) -> str:
    name = f"claim-{secrets.token_hex(3)}"
    body = {
        "metadata": {
            "name": name,
            "annotations": {"volume.kubernetes.io/selected-node": node or region.node},
        },
        "spec": {
            "storageClassName": its_class,
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": size}},
            **({"dataSource": source} if source else {}),
        },
    }
    await region.client.create(region.path("persistentvolumeclaims"), body)
    return name


async def volume_of(region: Region, claim_name: str) -> Object:
    """The volume made for a claim, bound to it as the controllers would."""
    client = region.client

    async def find() -> Object | None:
        volumes = await client.list(client.path("v1", "persistentvolumes"))
        return next((v for v in volumes if v["spec"]["claimRef"]["name"] == claim_name), None)

    try:
        volume: Object = await eventually(find, lambda found: found is not None)
    except AssertionError as error:
        raise AssertionError(f"{error}: {await region.events(claim_name)}") from None
    path = region.path("persistentvolumeclaims", claim_name)
    notes = {"annotations": {"pv.kubernetes.io/bind-completed": "yes"}}
    await client.patch(path, {"metadata": notes, "spec": {"volumeName": volume["metadata"]["name"]}})
    status = {"phase": "Bound", "capacity": volume["spec"]["capacity"]}
    await client.patch(f"{path}/status", {"status": status})
    return volume


def ec2_volume(region: Region, volume: Object) -> Any:
    handle = volume["spec"]["csi"]["volumeHandle"]
    return region.aws("ec2").describe_volumes(VolumeIds=[handle])["Volumes"][0]


def using(claim_name: str) -> list[Object]:
    return [{"name": "data", "persistentVolumeClaim": {"claimName": claim_name}}]


MOUNTS = [{"name": "data", "mountPath": "/data"}]


@pytest.mark.parametrize(("asked", "gib"), [("1Mi", 1), ("1Gi", 1), ("1500Mi", 2), ("100G", 94)])
async def test_a_volume_has_whole_gib(asked: str, gib: int) -> None:
    assert size_gib({"spec": {"resources": {"requests": {"storage": asked}}}}) == gib


async def test_without_the_add_ons_nothing_is_provisioned_and_snapshots_are_unknown(
    settings: Settings,
) -> None:
    async with control_plane(settings, "bare") as bare, nodes_of(bare):
        await make_class(bare)
        name = await claim(bare, node="some-node")
        await asyncio.sleep(1.2)  # the driver looks once a second
        assert await bare.events(name) == []
        with pytest.raises(ApiError, match="404"):
            await bare.client.list(bare.client.path("snapshot.storage.k8s.io/v1", "volumesnapshots"))


async def test_without_identity_the_claim_tells_of_missing_credentials(region: Region, driver: str) -> None:
    region.faults.set("csi-identity")
    name = await claim(region)
    message = await region.until_event(name, "ProvisioningFailed")
    assert message.startswith(
        'failed to provision volume with StorageClass "gp3": rpc error: code = Internal'
    )
    assert "no EC2 IMDS role found" in message
    region.faults.clear()
    await volume_of(region, name)


async def test_without_the_agent_an_association_alone_gives_no_credentials(
    region: Region, driver: str
) -> None:
    await region.remove_add_on("eks-pod-identity-agent")
    name = await claim(region)
    message = await region.until_event(name, "ProvisioningFailed")
    assert message.endswith("CreateVolume, get identity: get credentials: request canceled, context canceled")
    await install_driver(region)
    await volume_of(region, name)


async def test_a_claim_that_asks_for_more_gets_a_larger_volume(region: Region, driver: str) -> None:
    client, name = region.client, await claim(region)
    volume = await volume_of(region, name)
    path = region.path("persistentvolumeclaims", name)
    await client.patch(path, {"spec": {"resources": {"requests": {"storage": "4500Mi"}}}})
    grown: Object = await eventually(
        lambda: client.get(path), lambda c: c["status"]["capacity"]["storage"] == "5Gi"
    )
    assert not grown["status"].get("conditions")
    shown = await client.get(client.path("v1", "persistentvolumes", None, volume["metadata"]["name"]))
    assert shown is not None
    assert shown["spec"]["capacity"]["storage"] == "5Gi"
    assert ec2_volume(region, volume)["Size"] == 5
    told = [reason for reason, _ in await region.events(name)]
    assert "Resizing" in told


async def test_a_volume_is_made_as_its_storage_class_says(region: Region, driver: str) -> None:
    name = await claim(region)
    volume = await volume_of(region, name)
    made = ec2_volume(region, volume)
    assert (made["Size"], made["Iops"], made["Throughput"], made["Encrypted"]) == (2, 4000, 500, True)
    tags = {tag["Key"]: tag["Value"] for tag in made["Tags"]}
    assert tags["kubernetes.io/created-for/pvc/name"] == name
    assert tags["kubernetes.io/created-for/pv/name"] == volume["metadata"]["name"]
    assert tags["ebs.csi.aws.com/cluster"] == "true"
    assert tags["team"] == "default"


async def test_a_volume_lies_in_the_zone_of_the_selected_node(region: Region, driver: str) -> None:
    node = await region.client.get(region.client.path("v1", "nodes", None, region.node))
    assert node is not None
    volume = await volume_of(region, await claim(region))
    terms = volume["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"]
    zone = node["metadata"]["labels"]["topology.kubernetes.io/zone"]
    assert terms[0]["matchExpressions"][0]["values"] == [zone]
    assert ec2_volume(region, volume)["AvailabilityZone"] == zone


async def test_a_node_that_is_gone_is_taken_back_from_the_claim_it_was_chosen_for(
    region: Region, driver: str
) -> None:
    name = await claim(region, node="gone")
    deadline = time.monotonic() + 10
    while True:
        found = await region.client.get(region.path("persistentvolumeclaims", name)) or {}
        chosen = "volume.kubernetes.io/selected-node" in (found["metadata"].get("annotations") or {})
        said = await region.events(name)
        if not chosen and said:
            break
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
    assert said == [("ProvisioningFailed", 'node "gone" not found')]


async def test_what_one_pod_writes_the_next_one_reads(region: Region, driver: str) -> None:
    name = await claim(region)
    await volume_of(region, name)
    once: dict[str, Any] = {"restartPolicy": "Never", "volumes": using(name)}
    first = await region.run(shell("echo kept > /data/file", volumeMounts=MOUNTS), **once)
    await region.until_phase(first, "Succeeded")
    second = await region.run(shell("cat /data/file", volumeMounts=MOUNTS), **once)
    await region.until_phase(second, "Succeeded")
    assert await region.log(second) == "kept\n"


async def test_a_volume_is_attached_while_a_pod_uses_it(region: Region, driver: str) -> None:
    name = await claim(region)
    volume = await volume_of(region, name)
    pod = await region.run({**SLEEP, "volumeMounts": MOUNTS}, volumes=using(name))
    await region.until_phase(pod, "Running")
    assert ec2_volume(region, volume)["State"] == "in-use"
    [shown] = await attachments(region, volume)
    assert (shown["spec"]["nodeName"], shown["status"]["attached"]) == (region.node, True)
    await region.delete(pod)
    await region.until_gone(pod)
    deadline = time.monotonic() + 10  # it is detached after the pod is gone
    while ec2_volume(region, volume)["State"] != "available":
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)

    await eventually(lambda: attachments(region, volume), lambda left: left == [])


async def attachments(region: Region, volume: Object) -> list[Object]:
    everything = await region.client.list(region.client.path("storage.k8s.io/v1", "volumeattachments"))
    name = volume["metadata"]["name"]
    return [a for a in everything if a["spec"]["source"]["persistentVolumeName"] == name]


async def test_the_driver_is_registered_on_the_node(region: Region, driver: str) -> None:
    path = region.client.path("storage.k8s.io/v1", "csinodes", None, region.node)
    shown: Object = await eventually(lambda: region.client.get(path), lambda n: n and n["spec"]["drivers"])
    [registered] = shown["spec"]["drivers"]
    assert registered["name"] == "ebs.csi.aws.com"
    assert registered["nodeID"].startswith("i-")
    assert (
        await region.client.get(
            region.client.path("storage.k8s.io/v1", "csidrivers", None, "ebs.csi.aws.com")
        )
        is not None
    )


async def test_a_second_node_is_refused_a_volume_in_use(region: Region, driver: str) -> None:
    other = (await region.make_group("second", 1))[0]["metadata"]["name"]
    name = await claim(region)
    await volume_of(region, name)
    holder = await region.run({**SLEEP, "volumeMounts": MOUNTS}, volumes=using(name))
    await region.until_phase(holder, "Running")
    waiting = await region.run({**SLEEP, "volumeMounts": MOUNTS}, node=other, volumes=using(name))
    message = await region.until_event(waiting, "FailedAttachVolume")
    assert message.startswith("Multi-Attach error for volume")
    await region.delete(holder)
    await region.until_phase(waiting, "Running")


async def test_a_released_volume_is_deleted_everywhere(region: Region, driver: str) -> None:
    client = region.client
    name = await claim(region)
    volume = await volume_of(region, name)
    handle = volume["spec"]["csi"]["volumeHandle"]
    folder = region.settings.root / "volumes" / handle
    assert folder.is_dir()
    path = client.path("v1", "persistentvolumes", None, volume["metadata"]["name"])
    await client.patch(f"{path}/status", {"status": {"phase": "Released"}})
    await eventually(lambda: client.get(path), lambda found: found is None)
    assert not folder.exists()
    states = region.aws("ec2").describe_volumes(Filters=[{"Name": "volume-id", "Values": [handle]}])
    assert states["Volumes"] == []


async def test_a_retained_volume_outlives_its_object(region: Region, driver: str) -> None:
    await make_class(region, "kept", "Retain")
    client = region.client
    volume = await volume_of(region, await claim(region, its_class="kept"))
    path = client.path("v1", "persistentvolumes", None, volume["metadata"]["name"])
    await client.patch(f"{path}/status", {"status": {"phase": "Released"}})
    await client.delete(path)
    await eventually(lambda: client.get(path), lambda found: found is None)
    assert ec2_volume(region, volume)["State"] == "available"
