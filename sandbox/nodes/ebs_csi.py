"""The EBS CSI driver and its external provisioner: claims of `ebs.csi.aws.com` become EC2 volumes, and go again.

It acts as the EKS add-on would: only while the cluster's aws-ebs-csi-driver add-on is ACTIVE, and with EC2 only when its service
account has a pod identity association.
"""

from __future__ import annotations

import asyncio
import logging
import math
import shutil
from pathlib import Path
from typing import Any

import aiohttp
from botocore.exceptions import BotoCoreError, ClientError

from sandbox.apiclient import ApiError, Informer, Object
from sandbox.nodes.attachments import DRIVER
from sandbox.nodes.faulty import is_on
from sandbox.nodes.kubelet.environment import quantity
from sandbox.nodes.node_objects import ZONE_LABEL
from sandbox.nodes.platform import Platform
from sandbox.nodes.pod_identity import PodIdentityAgent

log = logging.getLogger(__name__)

ADDON = "aws-ebs-csi-driver"
SERVICE_ACCOUNT = ("kube-system", "ebs-csi-controller-sa")
COMPONENT = "ebs.csi.aws.com_ebs-csi-controller"
SELECTED_NODE = "volume.kubernetes.io/selected-node"
PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"
FINALIZER = "external-provisioner.volume.kubernetes.io/finalizer"
RETRY_SECONDS = 1.0
GIB = 1024**3
# The AWS SDK's words where no credentials are found (aws-ebs-csi-driver issue 2452).
NO_IDENTITY = (
    "operation error EC2: CreateVolume, get identity: get credentials: failed to refresh cached credentials, "
    "no EC2 IMDS role found, operation error ec2imds: GetMetadata, access disabled to EC2 IMDS via client option, "
    'or "AWS_EC2_METADATA_DISABLED" environment variable'
)


class ProvisioningFailed(Exception):
    """The message of the claim's ProvisioningFailed event, after the StorageClass's name."""


class EbsCsi:
    """`run` follows claims and volumes; `folder` holds one folder for each EC2 volume."""

    def __init__(self, platform: Platform, identity: PodIdentityAgent, folder: Path) -> None:
        self._platform, self._identity, self._folder = platform, identity, folder
        client = platform.client
        self._wake = asyncio.Event()
        self.claims = Informer(client, client.path("v1", "persistentvolumeclaims"), self._changed)
        self.volumes = Informer(client, client.path("v1", "persistentvolumes"), self._changed)

    def _changed(self, _kind: str, _item: Object) -> None:
        self._wake.set()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self.claims.run())
            group.create_task(self.volumes.run())
            group.create_task(self._work())

    async def _work(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            if await self._round():
                await asyncio.sleep(RETRY_SECONDS)
                self._wake.set()

    async def _round(self) -> bool:
        """One look at everything; whether something is left to try again."""
        released = [v for v in self.volumes.objects.values() if _to_delete(v)]
        waiting = [c for c in self.claims.objects.values() if _unbound(c)]
        if not released and not waiting:
            return False
        try:
            if not await self._installed():
                return True
            left = [await self._try_provision(claim) for claim in waiting]
            left += [await self._try_delete(volume) for volume in released]
        except (ApiError, aiohttp.ClientError, TimeoutError, ClientError, BotoCoreError) as error:
            log.warning("EBS CSI driver of %s: %s", self._platform.cluster, error)
            return True
        return any(left)

    async def _installed(self) -> bool:
        aws = self._platform.aws
        try:
            answer = await aws.call(
                aws.eks.describe_addon, clusterName=self._platform.cluster, addonName=ADDON
            )
        except ClientError as error:
            if error.response["Error"]["Code"] == "ResourceNotFoundException":
                return False
            raise
        return answer["addon"]["status"] == "ACTIVE"

    async def _authorised(self) -> bool:
        if is_on(self._platform.faults, "csi-identity", self._platform.cluster):
            return False
        return await self._identity.role(*SERVICE_ACCOUNT) is not None

    # --- provisioning

    async def _try_provision(self, claim: Object) -> bool:
        """Whether to try this claim again later."""
        client = self._platform.client
        name = claim["spec"].get("storageClassName")
        if not name:
            return False
        storage_class = await client.get(client.path("storage.k8s.io/v1", "storageclasses", None, name))
        if storage_class is None or storage_class["provisioner"] != DRIVER:
            return False
        node = (claim["metadata"].get("annotations") or {}).get(SELECTED_NODE)
        if storage_class.get("volumeBindingMode") == "WaitForFirstConsumer" and not node:
            return False
        metadata = claim["metadata"]
        volume_path = client.path("v1", "persistentvolumes", None, f"pvc-{metadata['uid']}")
        if await client.get(volume_path):
            return False  # made by an earlier round, and about to be bound
        self._note(
            claim,
            "Normal",
            "Provisioning",
            f'External provisioner is provisioning volume for claim "{metadata["namespace"]}/{metadata["name"]}"',
        )
        try:
            volume = await self._provision(claim, storage_class, node)
        except ProvisioningFailed as error:
            self._note(
                claim,
                "Warning",
                "ProvisioningFailed",
                f'failed to provision volume with StorageClass "{name}": {error}',
            )
            return True
        self._note(claim, "Normal", "ProvisioningSucceeded", f"Successfully provisioned volume {volume}")
        return False

    async def _provision(self, claim: Object, storage_class: Object, node: str | None) -> str:
        """The new PersistentVolume's name. Raises ProvisioningFailed."""
        client = self._platform.client
        name: str = f"pvc-{claim['metadata']['uid']}"
        if not await self._authorised():
            raise ProvisioningFailed(_internal(name, f"could not create volume in EC2: {NO_IDENTITY}"))
        zone = await self._zone(storage_class, node)
        aws = self._platform.aws
        parameters = _volume_parameters(claim, storage_class, name, zone, self._platform.cluster)
        named = [{"Name": "tag:CSIVolumeName", "Values": [name]}]
        try:
            # As with the driver's client token: a volume made before its PersistentVolume was not, is taken up again.
            found = (await aws.call(aws.ec2.describe_volumes, Filters=named))["Volumes"]  # type: ignore[arg-type]
            made = found[0] if found else await aws.call(aws.ec2.create_volume, **parameters)
        except ClientError as error:
            raise ProvisioningFailed(
                _internal(name, f"could not create volume in EC2: operation error EC2: CreateVolume, {error}")
            ) from error
        await asyncio.to_thread((self._folder / made["VolumeId"]).mkdir, parents=True, exist_ok=True)
        volume = _volume_object(claim, storage_class, name, made["VolumeId"], zone, made["Size"])
        await client.create(client.path("v1", "persistentvolumes"), volume)
        return name

    async def _zone(self, storage_class: Object, node: str | None) -> str:
        """The selected node's zone, or for immediate binding the first allowed one that has a node."""
        client = self._platform.client
        if node:
            found = await client.get(client.path("v1", "nodes", None, node))
            if found is None:
                raise ProvisioningFailed(
                    f'error generating accessibility requirements: error getting CSINode for selected node "{node}": '
                    f'csinode.storage.k8s.io "{node}" not found'
                )
            return str(found["metadata"]["labels"][ZONE_LABEL])
        nodes = await client.list(client.path("v1", "nodes"), labelSelector=ZONE_LABEL)
        zones: set[str] = {n["metadata"]["labels"][ZONE_LABEL] for n in nodes}
        if allowed := _allowed_zones(storage_class):
            zones &= allowed
        if not zones:
            raise ProvisioningFailed(
                "error generating accessibility requirements: no available topology found"
            )
        return min(zones)

    # --- deletion

    async def _try_delete(self, volume: Object) -> bool:
        """Delete a released volume from EC2, its folder, and then the object; whether to try again."""
        aws, client = self._platform.aws, self._platform.client
        handle = volume["spec"]["csi"]["volumeHandle"]
        try:
            if not await self._authorised():
                raise ProvisioningFailed(NO_IDENTITY.replace("CreateVolume", "DeleteVolume"))
            await aws.call(aws.ec2.delete_volume, VolumeId=handle)
        except (ClientError, ProvisioningFailed) as error:
            gone = (
                isinstance(error, ClientError) and error.response["Error"]["Code"] == "InvalidVolume.NotFound"
            )
            if not gone:
                self._note(
                    volume,
                    "Warning",
                    "VolumeFailedDelete",
                    f'rpc error: code = Internal desc = Could not delete volume ID "{handle}": {error}',
                )
                return True
        await asyncio.to_thread(shutil.rmtree, self._folder / handle, ignore_errors=True)
        path = client.path("v1", "persistentvolumes", None, volume["metadata"]["name"])
        await client.delete(path)
        current = await client.get(path)
        if current and FINALIZER in (current["metadata"].get("finalizers") or []):
            kept = [f for f in current["metadata"]["finalizers"] if f != FINALIZER]
            try:
                await client.patch(
                    path,
                    {
                        "metadata": {
                            "finalizers": kept,
                            "resourceVersion": current["metadata"]["resourceVersion"],
                        }
                    },
                )
            except ApiError as error:
                if error.code != 404:
                    raise
        return False

    def _note(self, item: Object, kind: str, reason: str, message: str) -> None:
        self._platform.record(item, kind, reason, message, component=COMPONENT)


def _unbound(claim: Object) -> bool:
    return not claim["spec"].get("volumeName") and not claim["metadata"].get("deletionTimestamp")


def _to_delete(volume: Object) -> bool:
    """Released (or already being deleted after that), ours, and to be deleted by policy."""
    spec = volume["spec"]
    return (
        (spec.get("csi") or {}).get("driver") == DRIVER
        and (volume.get("status") or {}).get("phase") in ("Released", "Failed")
        and spec.get("persistentVolumeReclaimPolicy") == "Delete"
        and (volume["metadata"].get("annotations") or {}).get(PROVISIONED_BY) == DRIVER
    )


def _internal(volume: str, why: str) -> str:
    return f'rpc error: code = Internal desc = Could not create volume "{volume}": {why}'


def _allowed_zones(storage_class: Object) -> set[str]:
    """Zones of `allowedTopologies`; empty means any."""
    keys = (ZONE_LABEL, "topology.ebs.csi.aws.com/zone")
    return {
        zone
        for term in storage_class.get("allowedTopologies") or []
        for expression in term.get("matchLabelExpressions") or []
        if expression["key"] in keys
        for zone in expression["values"]
    }


def size_gib(claim: Object) -> int:
    """The volume's size: what the claim asks for, rounded up to whole GiB as EBS sells them."""
    return max(1, math.ceil(quantity(claim["spec"]["resources"]["requests"]["storage"]) / GIB))


def _volume_parameters(
    claim: Object, storage_class: Object, name: str, zone: str, cluster: str
) -> dict[str, Any]:
    """CreateVolume's arguments. Keys of a StorageClass's parameters are case-insensitive to the driver."""
    given = {key.lower(): str(value) for key, value in (storage_class.get("parameters") or {}).items()}
    metadata = claim["metadata"]
    tags = {
        "CSIVolumeName": name,
        "ebs.csi.aws.com/cluster": "true",
        f"kubernetes.io/cluster/{cluster}": "owned",
        "kubernetes.io/created-for/pv/name": name,
        "kubernetes.io/created-for/pvc/name": metadata["name"],
        "kubernetes.io/created-for/pvc/namespace": metadata["namespace"],
        "Name": f"{cluster}-dynamic-{name}",
    }
    values = {
        "{{ .PVCName }}": metadata["name"],
        "{{ .PVCNamespace }}": metadata["namespace"],
        "{{ .PVName }}": name,
    }
    for key in sorted(k for k in given if k.startswith("tagspecification_")):
        tag, _, value = given[key].partition("=")
        for template, text in values.items():
            value = value.replace(template, text)
        tags[tag] = value
    arguments: dict[str, Any] = {
        "AvailabilityZone": zone,
        "Size": size_gib(claim),
        "VolumeType": given.get("type", "gp3"),
        "Encrypted": given.get("encrypted", "false").lower() == "true",
        "TagSpecifications": [
            {"ResourceType": "volume", "Tags": [{"Key": k, "Value": v} for k, v in tags.items()]}
        ],
    }
    if "kmskeyid" in given:
        arguments["KmsKeyId"] = given["kmskeyid"]
    for key, argument in (("iops", "Iops"), ("throughput", "Throughput")):
        if key in given:
            arguments[argument] = int(given[key])
    return arguments


def _volume_object(
    claim: Object, storage_class: Object, name: str, handle: str, zone: str, size: int
) -> Object:
    metadata = claim["metadata"]
    file_system = (storage_class.get("parameters") or {}).get("csi.storage.k8s.io/fstype", "ext4")
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {
            "name": name,
            "annotations": {PROVISIONED_BY: DRIVER},
            "finalizers": [FINALIZER],
        },
        "spec": {
            "capacity": {"storage": f"{size}Gi"},
            "accessModes": claim["spec"]["accessModes"],
            "volumeMode": claim["spec"].get("volumeMode") or "Filesystem",
            "persistentVolumeReclaimPolicy": storage_class.get("reclaimPolicy") or "Delete",
            "storageClassName": storage_class["metadata"]["name"],
            "claimRef": {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "namespace": metadata["namespace"],
                "name": metadata["name"],
                "uid": metadata["uid"],
                "resourceVersion": metadata["resourceVersion"],
            },
            "csi": {
                "driver": DRIVER,
                "volumeHandle": handle,
                "fsType": file_system,
                "volumeAttributes": {"storage.kubernetes.io/csiProvisionerIdentity": COMPONENT},
            },
            "nodeAffinity": {
                "required": {
                    "nodeSelectorTerms": [
                        {"matchExpressions": [{"key": ZONE_LABEL, "operator": "In", "values": [zone]}]}
                    ]
                }
            },
        },
    }
