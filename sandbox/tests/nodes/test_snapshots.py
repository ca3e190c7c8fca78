"""Volume snapshots: served once their add-on is there, taken in EC2 with the volume's contents, and started from."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest
import pytest_asyncio

from slipway_sandbox.apiclient import ApiError, Object
from tests.nodes.conftest import Region, eventually
from tests.nodes.test_lifecycle import shell
from tests.nodes.test_volumes import MOUNTS, claim, install_driver, make_class, using, volume_of

pytestmark = pytest.mark.asyncio(loop_scope="session")

API = "snapshot.storage.k8s.io/v1"


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def snapshots(shared: Region) -> AsyncIterator[Region]:
    """The driver, the snapshot-controller and one class of each policy."""
    await make_class(shared)
    await install_driver(shared)
    await shared.add_on("snapshot-controller")
    await eventually(lambda: served(shared), lambda found: found)
    for policy in ("Delete", "Retain"):
        body = {
            **kind("VolumeSnapshotClass"),
            "metadata": {"name": policy.lower()},
            "driver": "ebs.csi.aws.com",
            "deletionPolicy": policy,
            "parameters": {"tagSpecification_1": "of={{ .VolumeSnapshotName }}"},
        }
        await shared.client.create(shared.client.path(API, "volumesnapshotclasses"), body)
    yield shared


def kind(name: str) -> dict[str, str]:
    """A custom object must say what it is."""
    return {"apiVersion": API, "kind": name}


async def served(region: Region) -> bool:
    try:
        await region.client.list(region.client.path(API, "volumesnapshots"))
        await region.client.list(region.client.path(API, "volumesnapshotclasses"))
    except ApiError as error:
        assert error.code == 404
        return False
    return True


def at(region: Region, name: str) -> str:
    return region.client.path(API, "volumesnapshots", region.namespace, name)


async def snapshot(region: Region, claim_name: str, policy: str = "delete") -> str:
    name = f"snap-{secrets.token_hex(3)}"
    source = {"persistentVolumeClaimName": claim_name}
    spec = {"volumeSnapshotClassName": policy, "source": source}
    body = {**kind("VolumeSnapshot"), "metadata": {"name": name}, "spec": spec}
    await region.client.create(region.client.path(API, "volumesnapshots", region.namespace), body)
    return name


async def until_ready(region: Region, name: str) -> Object:
    found: Object = await eventually(
        lambda: region.client.get(at(region, name)), lambda s: (s.get("status") or {}).get("readyToUse")
    )
    return found


async def content_of(region: Region, name: str) -> Object:
    found = await region.client.get(at(region, name))
    assert found is not None
    bound = found["status"]["boundVolumeSnapshotContentName"]
    content = await region.client.get(region.client.path(API, "volumesnapshotcontents", None, bound))
    assert content is not None
    return content


async def run(region: Region, script: str, claim_name: str, node: str | None = None) -> str:
    """A pod that runs `script` with the claim at /data, once it succeeded."""
    once: dict[str, Any] = {"restartPolicy": "Never", "volumes": using(claim_name), "node": node}
    pod = await region.run(shell(script, volumeMounts=MOUNTS), **once)
    await region.until_phase(pod, "Succeeded")
    return pod


async def filled(region: Region, text: str = "warm") -> str:
    """A bound claim with one file."""
    name = await claim(region)
    await volume_of(region, name)
    await run(region, f"mkdir /data/sub; echo {text} > /data/sub/file", name)
    return name


def from_snapshot(name: str) -> Object:
    return {"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": name}


async def test_a_snapshot_is_made_in_ec2_and_becomes_ready(snapshots: Region, region: Region) -> None:
    name = await snapshot(region, await filled(region))
    ready = await until_ready(region, name)
    assert ready["status"]["restoreSize"] == "2Gi"
    assert ready["status"]["creationTime"]
    content = await content_of(region, name)
    assert content["metadata"]["name"] == f"snapcontent-{ready['metadata']['uid']}"
    handle = content["status"]["snapshotHandle"]
    [made] = region.aws("ec2").describe_snapshots(SnapshotIds=[handle])["Snapshots"]
    assert (made["State"], made["VolumeSize"]) == ("completed", 2)
    tags = {tag["Key"]: tag["Value"] for tag in made["Tags"]}
    assert tags["of"] == name
    assert tags["CSIVolumeSnapshotName"] == f"snapshot-{ready['metadata']['uid']}"
    told = dict(await region.events(name))
    assert told["SnapshotReady"] == f"Snapshot default/{name} is ready to use."
    assert told["CreatingSnapshot"].startswith(f"Waiting for a snapshot default/{name} to be created")


async def test_a_claim_starts_with_the_contents_the_volume_had_then(
    snapshots: Region, region: Region
) -> None:
    source = await filled(region, "then")
    name = await snapshot(region, source)
    await until_ready(region, name)
    await run(region, "echo later > /data/sub/file; echo more > /data/new", source)
    clone = await claim(region, "2Gi", source=from_snapshot(name))
    await volume_of(region, clone)
    pod = await run(region, "cat /data/sub/file; ls /data; echo own > /data/sub/file", clone)
    assert await region.log(pod) == "then\nsub\n"
    again = await claim(region, "2Gi", source=from_snapshot(name))
    await volume_of(region, again)
    assert await region.log(await run(region, "cat /data/sub/file", again)) == "then\n"


async def test_a_snapshot_reaches_every_zone(snapshots: Region, region: Region) -> None:
    group = f"other-{secrets.token_hex(3)}"
    away = next(n for n in await region.make_group(group, 2) if zone_of(n) == "us-east-1b")
    here = await region.client.get(region.client.path("v1", "nodes", None, region.node))
    assert here is not None
    assert zone_of(here) == "us-east-1a"
    name = await snapshot(region, await filled(region))
    await until_ready(region, name)
    clone = await claim(region, "2Gi", away["metadata"]["name"], source=from_snapshot(name))
    volume = await volume_of(region, clone)
    made = region.aws("ec2").describe_volumes(VolumeIds=[volume["spec"]["csi"]["volumeHandle"]])["Volumes"]
    assert made[0]["AvailabilityZone"] == "us-east-1b"
    assert made[0]["SnapshotId"] == (await content_of(region, name))["status"]["snapshotHandle"]
    pod = await run(region, "cat /data/sub/file", clone, away["metadata"]["name"])
    assert await region.log(pod) == "warm\n"
    await region.scale(group, 0)


def zone_of(node: Object) -> str:
    return str(node["metadata"]["labels"]["topology.kubernetes.io/zone"])


async def test_a_claim_smaller_than_its_snapshot_is_refused(snapshots: Region, region: Region) -> None:
    name = await snapshot(region, await filled(region))
    await until_ready(region, name)
    small = await claim(region, "1Gi", source=from_snapshot(name))
    assert await region.until_event(small, "ProvisioningFailed") == (
        'failed to provision volume with StorageClass "gp3": error getting handle for DataSource Type VolumeSnapshot by '
        f"Name {name}: requested volume size 1073741824 is less than the size 2147483648 for the source snapshot {name}"
    )
    await region.client.delete(region.path("persistentvolumeclaims", small))


async def test_a_claim_waits_for_a_snapshot_that_is_not_there_yet(snapshots: Region, region: Region) -> None:
    waiting = await claim(region, "2Gi", source=from_snapshot("missing"))
    assert await region.until_event(waiting, "ProvisioningFailed") == (
        'failed to provision volume with StorageClass "gp3": error getting handle for DataSource Type VolumeSnapshot by '
        "Name missing: error getting snapshot missing from api server: "
        'volumesnapshots.snapshot.storage.k8s.io "missing" not found'
    )
    await region.client.delete(region.path("persistentvolumeclaims", waiting))


async def test_a_snapshot_of_an_unbound_claim_waits_for_it(snapshots: Region, region: Region) -> None:
    body = {
        "metadata": {"name": f"late-{secrets.token_hex(3)}"},
        "spec": {
            "storageClassName": "gp3",
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}},
        },
    }
    path = region.path("persistentvolumeclaims")
    source = (await region.client.create(path, body))["metadata"]["name"]
    name = await snapshot(region, source)
    waiting: Object = await eventually(
        lambda: region.client.get(at(region, name)), lambda s: (s.get("status") or {}).get("error")
    )
    assert waiting["status"]["readyToUse"] is False
    assert waiting["status"]["error"]["message"] == (
        "Failed to create snapshot content with error failed to get input parameters to create snapshot "
        f'{name}: "the PVC {source} is not yet bound to a PV, will not attempt to take a snapshot"'
    )
    notes = {"annotations": {"volume.kubernetes.io/selected-node": region.node}}
    await region.client.patch(f"{path}/{source}", {"metadata": notes})
    await volume_of(region, source)
    assert "error" not in (await until_ready(region, name))["status"]


async def test_deleting_a_snapshot_deletes_ec2s_where_the_policy_says_so(
    snapshots: Region, region: Region
) -> None:
    source = await filled(region)
    for policy, left in (("delete", 0), ("retain", 1)):
        name = await snapshot(region, source, policy)
        await until_ready(region, name)
        handle = (await content_of(region, name))["status"]["snapshotHandle"]
        await region.client.delete(at(region, name))
        await eventually(partial(region.client.get, at(region, name)), lambda found: found is None)
        filters = [{"Name": "snapshot-id", "Values": [handle]}]
        assert len(region.aws("ec2").describe_snapshots(Filters=filters)["Snapshots"]) == left
        assert (region.settings.root / "volumes" / handle).is_dir() == bool(left)


async def test_a_snapshot_that_was_there_before_is_bound_by_its_handle(
    snapshots: Region, region: Region
) -> None:
    first = await snapshot(region, await filled(region, "kept"), "retain")
    await until_ready(region, first)
    handle = (await content_of(region, first))["status"]["snapshotHandle"]
    name = f"kept-{secrets.token_hex(3)}"
    content = {
        **kind("VolumeSnapshotContent"),
        "metadata": {"name": name},
        "spec": {
            "deletionPolicy": "Retain",
            "driver": "ebs.csi.aws.com",
            "source": {"snapshotHandle": handle},
            "volumeSnapshotRef": {"name": name, "namespace": region.namespace},
        },
    }
    await region.client.create(region.client.path(API, "volumesnapshotcontents"), content)
    spec = {"source": {"volumeSnapshotContentName": name}}
    body = {**kind("VolumeSnapshot"), "metadata": {"name": name}, "spec": spec}
    await region.client.create(region.client.path(API, "volumesnapshots", region.namespace), body)
    await until_ready(region, name)
    clone = await claim(region, "2Gi", source=from_snapshot(name))
    await volume_of(region, clone)
    assert await region.log(await run(region, "cat /data/sub/file", clone)) == "kept\n"


async def test_without_identity_the_snapshot_tells_of_missing_credentials(
    snapshots: Region, region: Region
) -> None:
    source = await filled(region)
    region.faults.set("csi-identity")
    name = await snapshot(region, source)
    failing: Object = await eventually(
        lambda: region.client.get(at(region, name)), lambda s: (s.get("status") or {}).get("error")
    )
    assert failing["status"]["error"]["message"].startswith(
        "Failed to create snapshot: failed to take snapshot of the volume vol-"
    )
    assert "no EC2 IMDS role found" in failing["status"]["error"]["message"]
    region.faults.clear()
    assert "error" not in (await until_ready(region, name))["status"]
