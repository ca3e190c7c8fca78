"""Which node holds which EBS volume: attach and detach, and the refusal of a second node."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
from botocore.exceptions import BotoCoreError, ClientError

from slipway_sandbox.apiclient import ApiClient, ApiError, Object
from slipway_sandbox.nodes.aws import Aws
from slipway_sandbox.nodes.events import EventRecorder, reference
from slipway_sandbox.nodes.kubelet.volumes import MountError

log = logging.getLogger(__name__)

DRIVER = "ebs.csi.aws.com"
SHARED_MODES = ("ReadWriteMany", "ReadOnlyMany")


@dataclass
class _Attachment:
    node: str
    instance: str
    device: str
    record: str = ""  # the VolumeAttachment's name
    pods: dict[str, str] = field(default_factory=dict)  # uid -> name


class Attachments:
    """The attach/detach controller and the node side of the CSI driver. Volumes are folders below `folder`."""

    def __init__(
        self,
        client: ApiClient,
        aws: Aws,
        events: EventRecorder,
        folder: Path,
        instance_of: Callable[[str], str],
    ) -> None:
        self._client, self._aws, self._events, self._folder = client, aws, events, folder
        self._instance_of = instance_of  # node name -> instance id
        self._held: dict[str, list[_Attachment]] = {}
        self._lock = asyncio.Lock()

    async def attach(self, volume: Object, node: str, pod: Object) -> Path:
        """The folder of `volume`, held for `pod` on `node`. Raises MountError."""
        csi = volume["spec"].get("csi") or {}
        name = volume["metadata"]["name"]
        if csi.get("driver") != DRIVER:
            raise MountError("FailedMount", f'no driver for persistentvolume "{name}" is on this node')
        handle = csi["volumeHandle"]
        folder = self._folder / str(handle)
        async with self._lock:
            await self._hold(volume, handle, node, pod)
        await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
        return folder

    async def release(self, pod_uid: str) -> None:
        """The pod's processes ended: volumes nobody else on the node uses are detached."""
        async with self._lock:
            for handle, attachments in list(self._held.items()):
                for attachment in list(attachments):
                    if attachment.pods.pop(pod_uid, None) is None or attachment.pods:
                        continue
                    attachments.remove(attachment)
                    await self._detach(handle, attachment)
                if not attachments:
                    del self._held[handle]

    async def _hold(self, volume: Object, handle: str, node: str, pod: Object) -> None:
        metadata, name = pod["metadata"], volume["metadata"]["name"]
        held = self._held.get(handle, [])
        here = next((a for a in held if a.node == node), None)
        if here:
            here.pods[metadata["uid"]] = metadata["name"]
            return
        shared = any(mode in SHARED_MODES for mode in volume["spec"].get("accessModes") or [])
        if held and not shared:
            users = ", ".join(sorted(pod for a in held for pod in a.pods.values()))
            raise MountError(
                "FailedAttachVolume",
                f'Multi-Attach error for volume "{name}" Volume is already used by pod(s) {users}',
            )
        attachment = _Attachment(node, self._instance_of(node), self._device(node))
        attachment.pods[metadata["uid"]] = metadata["name"]
        attachment.record = attachment_name(handle, node)
        # first: EC2 attaches also for a pod that is deleted meanwhile, whose release then detaches
        self._held.setdefault(handle, []).append(attachment)
        try:
            await self._aws.finish(
                self._aws.ec2.attach_volume,
                VolumeId=handle,
                InstanceId=attachment.instance,
                Device=attachment.device,
            )
        except (ClientError, BotoCoreError) as error:
            self._held[handle].remove(attachment)
            raise MountError(
                "FailedAttachVolume",
                f'AttachVolume.Attach failed for volume "{name}" : rpc error: code = Internal desc = '
                f'Could not attach volume "{handle}" to node "{attachment.instance}": {error}',
            ) from error
        self._events.record(
            reference({"kind": "Pod", "apiVersion": "v1", **pod}),
            "Normal",
            "SuccessfulAttachVolume",
            f'AttachVolume.Attach succeeded for volume "{name}"',
            component="attachdetach-controller",
        )
        await self._tell(attachment, name)

    async def _tell(self, attachment: _Attachment, volume: str) -> None:
        """The VolumeAttachment for others to see; a real control plane's attach-detach controller may have made it."""
        path = self._client.path("storage.k8s.io/v1", "volumeattachments")
        source = {"persistentVolumeName": volume}
        spec = {"attacher": DRIVER, "nodeName": attachment.node, "source": source}
        status = {"attached": True, "attachmentMetadata": {"devicePath": attachment.device}}
        try:
            try:
                await self._client.create(path, {"metadata": {"name": attachment.record}, "spec": spec})
            except ApiError as error:
                if error.code != 409:
                    raise
            await self._client.patch(f"{path}/{attachment.record}/status", {"status": status})
        except (ApiError, aiohttp.ClientError, TimeoutError) as error:
            log.warning("attachment of volume %s to %s not recorded: %s", volume, attachment.node, error)

    def _device(self, node: str) -> str:
        """A free device name on the node, from the range the driver uses."""
        used = {a.device for attachments in self._held.values() for a in attachments if a.node == node}
        names = (f"/dev/xvd{first}{second}" for first in "abcd" for second in "abcdefghijklmnopqrstuvwxyz")
        free = next((name for name in names if name not in used), None)
        if free is None:
            raise MountError("FailedAttachVolume", f"node {node} has no free device names")
        return free

    async def _detach(self, handle: str, attachment: _Attachment) -> None:
        path = self._client.path("storage.k8s.io/v1", "volumeattachments", None, attachment.record)
        try:
            await self._client.delete(path)
        except (ApiError, aiohttp.ClientError, TimeoutError) as error:
            log.warning("attachment of %s to %s not removed: %s", handle, attachment.node, error)
        try:
            await self._aws.call(
                self._aws.ec2.detach_volume, VolumeId=handle, InstanceId=attachment.instance, Force=True
            )
        except ClientError as error:
            # Gone with its instance, or deleted by hand: what was wanted either way.
            log.info("volume %s was not detached: %s", handle, error)
        except BotoCoreError as error:
            log.warning("volume %s was not detached: %s", handle, error)


def attachment_name(handle: str, node: str) -> str:
    """As kubelet and attach-detach controller name it (pkg/volume/csi/csi_attacher.go)."""
    return f"csi-{hashlib.sha256(f'{handle}{DRIVER}{node}'.encode()).hexdigest()}"
