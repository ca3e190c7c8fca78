"""The CSI controller service of ebs.csi.aws.com: volumes and snapshots in EC2, and the folders that stand for their blocks.

Every call needs the identity of the driver's service account, as an association and through the Pod Identity agent.
Messages are the driver's (pkg/driver/controller.go of aws-ebs-csi-driver 1.5x).
"""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from slipway_sandbox.nodes.addons import EBS_CSI_DRIVER, POD_IDENTITY_AGENT, Addons
from slipway_sandbox.nodes.ebs.contents import copy_contents
from slipway_sandbox.nodes.platform import Platform
from slipway_sandbox.nodes.pod_identity import PodIdentityAgent

if TYPE_CHECKING:
    from types_boto3_ec2.type_defs import SnapshotTypeDef

SERVICE_ACCOUNT = ("kube-system", "ebs-csi-controller-sa")
# The AWS SDK's words where no credentials are found (aws-ebs-csi-driver issue 2452) …
NO_IDENTITY = (
    "get identity: get credentials: failed to refresh cached credentials, "
    "no EC2 IMDS role found, operation error ec2imds: GetMetadata, access disabled to EC2 IMDS via client option, "
    'or "AWS_EC2_METADATA_DISABLED" environment variable'
)
# … and where there is an association, but nobody answers at the agent's address (issue 2421).
NO_AGENT = "get identity: get credentials: request canceled, context canceled"


class RpcError(Exception):
    """A CSI call failed; as text it is what a sidecar shows of it."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"rpc error: code = {code} desc = {message}")


class _Ec2Refused(Exception):
    """EC2 said no, or could not be asked."""


@dataclass(frozen=True)
class EbsSnapshot:
    """A snapshot as the driver tells of it; `size` in GiB, `created` its point in time."""

    handle: str
    volume: str
    size: int
    created: datetime
    ready: bool


class EbsDriver:
    """`folder` holds one folder for each EC2 volume (vol-…) and snapshot (snap-…)."""

    def __init__(self, platform: Platform, identity: PodIdentityAgent, folder: Path) -> None:
        self._platform, self._identity, self._folder = platform, identity, folder
        self._aws = platform.aws
        self.addons = Addons(platform.aws, platform.cluster)

    async def installed(self) -> bool:
        """Whether the add-on runs. Raises botocore's errors."""
        return await self.addons.works(EBS_CSI_DRIVER)

    # --- volumes

    async def create_volume(
        self, name: str, arguments: dict[str, Any], snapshot: str | None
    ) -> tuple[str, int]:
        """(id, GiB) of the volume of that name, made where there is none. Raises RpcError."""
        failed = f'Could not create volume "{name}": '
        named: list[Any] = [{"Name": "tag:CSIVolumeName", "Values": [name]}]
        try:
            # As with the driver's client token: a volume made before its PersistentVolume was not, is taken up again.
            found = (await self._call("CreateVolume", "describe_volumes", Filters=named))["Volumes"]
            more = {"SnapshotId": snapshot} if snapshot else {}
            made = (
                found[0] if found else await self._call("CreateVolume", "create_volume", **arguments, **more)
            )
        except _Ec2Refused as error:
            raise RpcError("Internal", f"{failed}could not create volume in EC2: {error}") from error
        folder = self._folder / made["VolumeId"]
        try:
            if snapshot:
                await copy_contents(self._folder / snapshot, folder)
            else:
                await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
        except (OSError, TimeoutError) as error:
            raise RpcError("Internal", failed + str(error)) from error
        return made["VolumeId"], made["Size"]

    async def delete_volume(self, handle: str) -> None:
        """Raises RpcError."""
        try:
            await self._call("DeleteVolume", "delete_volume", gone="InvalidVolume.NotFound", VolumeId=handle)
        except _Ec2Refused as error:
            raise RpcError("Internal", f'Could not delete volume ID "{handle}": {error}') from error
        await asyncio.to_thread(shutil.rmtree, self._folder / handle, ignore_errors=True)

    async def expand_volume(self, handle: str, size: int) -> int:
        """The volume's new size in GiB, `size` or what it had if that was more. Raises RpcError."""
        try:
            volumes = await self._call("DescribeVolumes", "describe_volumes", VolumeIds=[handle])
            have = int(volumes["Volumes"][0]["Size"])
            if have >= size:
                return have
            await self._call("ModifyVolume", "modify_volume", VolumeId=handle, Size=size)
        except _Ec2Refused as error:
            raise RpcError("Internal", f'Could not resize volume "{handle}": {error}') from error
        return size

    # --- snapshots

    async def create_snapshot(self, name: str, arguments: dict[str, Any], zones: list[str]) -> EbsSnapshot:
        """The snapshot of that name, made where there is none. Raises RpcError."""
        volume = arguments["VolumeId"]
        found = await self._named(name)
        if found and found[0]["VolumeId"] != volume:
            taken = f"Snapshot {name} already exists for different volume ({found[0]['VolumeId']})"
            raise RpcError("AlreadyExists", taken)
        # The contents first: what EC2 calls a snapshot has its point in time behind it.
        contents = self._folder / name
        try:
            if not found or not (self._folder / found[0]["SnapshotId"]).is_dir():
                await copy_contents(self._folder / volume, contents)
            made = found[0] if found else await self._call("CreateSnapshot", "create_snapshot", **arguments)
        except (OSError, TimeoutError) as error:
            raise RpcError("Internal", f'Could not create snapshot "{name}": {error}') from error
        except _Ec2Refused as error:
            await asyncio.to_thread(shutil.rmtree, contents, ignore_errors=True)
            why = f'Could not create snapshot "{name}": error creating snapshot of volume {volume}: {error}'
            raise RpcError("Internal", why) from error
        if contents.is_dir():
            contents.rename(self._folder / made["SnapshotId"])
        if zones and not found:
            await self._restore_fast(name, made["SnapshotId"], zones)
        return _facts(made)

    async def _restore_fast(self, name: str, handle: str, zones: list[str]) -> None:
        """Raises RpcError; a snapshot that cannot be made fast is none."""
        try:
            await self._call(
                "EnableFastSnapshotRestores",
                "enable_fast_snapshot_restores",
                AvailabilityZones=zones,
                SourceSnapshotIds=[handle],
            )
        except _Ec2Refused as error:
            await self.delete_snapshot(handle)
            why = f'Failed to create Fast Snapshot Restores for snapshot ID "{name}": {error}'
            raise RpcError("Internal", why) from error

    async def named(self, name: str) -> str | None:
        """The id of the snapshot of that name. Raises RpcError."""
        found = await self._named(name)
        return found[0]["SnapshotId"] if found else None

    async def _named(self, name: str) -> list[SnapshotTypeDef]:
        named: list[Any] = [{"Name": "tag:CSIVolumeSnapshotName", "Values": [name]}]
        try:
            answer = await self._call("DescribeSnapshots", "describe_snapshots", Filters=named)
        except _Ec2Refused as error:
            raise RpcError("Unknown", str(error)) from error
        found: list[SnapshotTypeDef] = answer["Snapshots"]
        return found

    async def snapshot(self, handle: str) -> EbsSnapshot | None:
        """The snapshot of that id, None where EC2 has none. Raises RpcError."""
        try:
            found = await self._call(
                "DescribeSnapshots",
                "describe_snapshots",
                gone="InvalidSnapshot.NotFound",
                SnapshotIds=[handle],
            )
        except _Ec2Refused as error:
            raise RpcError("Internal", f'Could not get snapshot ID "{handle}": {error}') from error
        return _facts(found["Snapshots"][0]) if found and found["Snapshots"] else None

    async def delete_snapshot(self, handle: str) -> None:
        """Raises RpcError."""
        try:
            await self._call(
                "DeleteSnapshot", "delete_snapshot", gone="InvalidSnapshot.NotFound", SnapshotId=handle
            )
        except _Ec2Refused as error:
            raise RpcError("Internal", f'Could not delete snapshot ID "{handle}": {error}') from error
        await asyncio.to_thread(shutil.rmtree, self._folder / handle, ignore_errors=True)

    # --- EC2

    async def _call(self, operation: str, method: str, *, gone: str = "", **arguments: Any) -> Any:
        """EC2's answer, None where it said `gone`. Raises _Ec2Refused with the SDK's words."""
        try:
            trouble = await self._trouble()
            if trouble:
                raise _Ec2Refused(f"operation error EC2: {operation}, {trouble}")
            return await self._aws.call(getattr(self._aws.ec2, method), **arguments)
        except ClientError as error:
            if gone and error.response["Error"]["Code"] == gone:
                return None
            raise _Ec2Refused(f"operation error EC2: {operation}, {error}") from error
        except BotoCoreError as error:
            raise _Ec2Refused(f"operation error EC2: {operation}, {error}") from error

    async def _trouble(self) -> str:
        """Why the driver has no credentials; empty where it has. Raises botocore's errors."""
        if self._platform.faults.is_on("csi-identity", self._platform.cluster):
            return NO_IDENTITY
        if await self._identity.role(*SERVICE_ACCOUNT) is None:
            return NO_IDENTITY
        return "" if await self.addons.works(POD_IDENTITY_AGENT) else NO_AGENT


def _facts(answer: SnapshotTypeDef) -> EbsSnapshot:
    return EbsSnapshot(
        answer["SnapshotId"],
        answer["VolumeId"],
        int(answer["VolumeSize"]),
        answer["StartTime"],
        answer["State"] == "completed",
    )
