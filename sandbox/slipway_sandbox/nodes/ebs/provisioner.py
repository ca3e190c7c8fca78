"""The external-provisioner beside the EBS driver: claims become EC2 volumes, and released volumes go again.

It acts only while the add-on is there.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

import aiohttp
from botocore.exceptions import BotoCoreError, ClientError

from slipway_sandbox.apiclient import ApiError, Informer, Object
from slipway_sandbox.controllers.objects import quantity
from slipway_sandbox.nodes.ebs.driver import EbsDriver, RpcError
from slipway_sandbox.nodes.ebs.requests import (
    COMPONENT,
    DRIVER,
    FINALIZER,
    PROVISIONED_BY,
    allowed_zones,
    asked_bytes,
    volume_arguments,
    volume_object,
)
from slipway_sandbox.nodes.node_objects import ZONE_LABEL
from slipway_sandbox.nodes.platform import Platform

log = logging.getLogger(__name__)

SELECTED_NODE = "volume.kubernetes.io/selected-node"
SNAPSHOT_GROUP = "snapshot.storage.k8s.io"
RETRY_SECONDS = 1.0
Step = Callable[[Object], Awaitable[bool]]


class ProvisioningFailed(Exception):
    """The message of the claim's ProvisioningFailed event, after the StorageClass's name."""


class _SomebodyElses(Exception):
    """The claim's contents come from a source this provisioner does not know."""


class Provisioner:
    """`run` follows claims and volumes."""

    def __init__(self, platform: Platform, driver: EbsDriver) -> None:
        self._platform, self._driver = platform, driver
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
            if not await self._driver.installed():
                return True
        except (ClientError, BotoCoreError) as error:
            log.warning("EBS CSI driver of %s: %s", self._platform.cluster, error)
            return True
        # Side by side: the contents of one claim's snapshot may take minutes to copy.
        left = await asyncio.gather(
            *(self._guarded(self._try_provision, claim) for claim in waiting),
            *(self._guarded(self._try_delete, volume) for volume in released),
        )
        return any(left)

    async def _guarded(self, step: Step, item: Object) -> bool:
        try:
            return await step(item)
        except (ApiError, aiohttp.ClientError, TimeoutError, ClientError, BotoCoreError) as error:
            log.warning("EBS CSI driver of %s: %s", self._platform.cluster, error)
            return True

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
        if node and await client.get(client.path("v1", "nodes", None, node)) is None:
            await self._give_up(claim, node)
            return False
        self._note(
            claim,
            "Normal",
            "Provisioning",
            f'External provisioner is provisioning volume for claim "{metadata["namespace"]}/{metadata["name"]}"',
        )
        try:
            volume = await self._provision(claim, storage_class, node)
        except _SomebodyElses:
            message = "Assuming an external populator will provision the volume"
            self._note(claim, "Normal", "Provisioning", message)
            return False
        except (ProvisioningFailed, RpcError) as error:
            self._note(
                claim,
                "Warning",
                "ProvisioningFailed",
                f'failed to provision volume with StorageClass "{name}": {error}',
            )
            return True
        self._note(claim, "Normal", "ProvisioningSucceeded", f"Successfully provisioned volume {volume}")
        return False

    async def _give_up(self, claim: Object, node: str) -> None:
        """The node chosen is gone: without it in its annotations the scheduler chooses anew for the claim's pod."""
        self._note(claim, "Warning", "ProvisioningFailed", f'node "{node}" not found')
        metadata, client = claim["metadata"], self._platform.client
        path = client.path("v1", "persistentvolumeclaims", metadata["namespace"], metadata["name"])
        version = metadata["resourceVersion"]
        await client.patch(
            path, {"metadata": {"resourceVersion": version, "annotations": {SELECTED_NODE: None}}}
        )

    async def _provision(self, claim: Object, storage_class: Object, node: str | None) -> str:
        """The new PersistentVolume's name. Raises ProvisioningFailed, RpcError."""
        client = self._platform.client
        name: str = f"pvc-{claim['metadata']['uid']}"
        snapshot = await self._source(claim, storage_class)
        zone = await self._zone(storage_class, node)
        arguments = volume_arguments(claim, storage_class, name, zone, self._platform.cluster)
        handle, size = await self._driver.create_volume(name, arguments, snapshot)
        volume = volume_object(claim, storage_class, name, handle, zone, size)
        await client.create(client.path("v1", "persistentvolumes"), volume)
        return name

    async def _source(self, claim: Object, storage_class: Object) -> str | None:
        """The EC2 snapshot the claim starts from, None for an empty volume. Raises ProvisioningFailed."""
        source = claim["spec"].get("dataSource") or claim["spec"].get("dataSourceRef")
        if not source:
            return None
        kind, name, group = source["kind"], source["name"], source.get("apiGroup") or ""
        if kind == "PersistentVolumeClaim":
            raise ProvisioningFailed(
                "CSI driver does not support clone operations: controller CLONE_VOLUME capability is not reported"
            )
        if kind != "VolumeSnapshot":
            raise _SomebodyElses
        if group != SNAPSHOT_GROUP:
            raise ProvisioningFailed(
                f"the PVC source does not belong to the right APIGroup. Expected {SNAPSHOT_GROUP}, Got {group}"
            )
        try:
            return await self._snapshot(claim, storage_class, name)
        except ProvisioningFailed as error:
            raise ProvisioningFailed(
                f"error getting handle for DataSource Type {kind} by Name {name}: {error}"
            ) from error

    async def _snapshot(self, claim: Object, storage_class: Object, name: str) -> str:
        """The handle of a snapshot that is bound, ready and no larger than the claim. Raises ProvisioningFailed."""
        client, api = self._platform.client, f"{SNAPSHOT_GROUP}/v1"
        namespace = claim["metadata"]["namespace"]
        found = await client.get(client.path(api, "volumesnapshots", namespace, name))
        if found is None:
            why = f'volumesnapshots.{SNAPSHOT_GROUP} "{name}" not found'
            raise ProvisioningFailed(f"error getting snapshot {name} from api server: {why}")
        if found["metadata"].get("deletionTimestamp"):
            raise ProvisioningFailed(f"snapshot {name} is being deleted")
        status = found.get("status") or {}
        bound = status.get("boundVolumeSnapshotContentName")
        if not bound:
            raise ProvisioningFailed(f"snapshot {name} not bound")
        content = await client.get(client.path(api, "volumesnapshotcontents", None, bound))
        if content is None:
            raise ProvisioningFailed(f"error getting snapshotcontent {bound} for snapshot {name}")
        if content["spec"]["volumeSnapshotRef"].get("uid") != found["metadata"]["uid"]:
            raise ProvisioningFailed(
                f"snapshotcontent {bound} for snapshot {name} is bound to a different snapshot"
            )
        if content["spec"]["driver"] != DRIVER:
            raise ProvisioningFailed(
                f"snapshotcontent {bound} for snapshot {name} is not handled by CSI driver of StorageClass "
                f"{storage_class['metadata']['name']}"
            )
        if not status.get("readyToUse"):
            raise ProvisioningFailed(f"snapshot {name} is not Ready")
        handle = (content.get("status") or {}).get("snapshotHandle")
        if not handle:
            raise ProvisioningFailed(f"snapshot handle {name} is not available")
        asked, least = asked_bytes(claim), int(quantity(status.get("restoreSize", "0")))
        if asked < least:
            raise ProvisioningFailed(
                f"requested volume size {asked} is less than the size {least} for the source snapshot {name}"
            )
        return str(handle)

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
        if allowed := allowed_zones(storage_class):
            zones &= allowed
        if not zones:
            raise ProvisioningFailed(
                "error generating accessibility requirements: no available topology found"
            )
        return min(zones)

    # --- deletion

    async def _try_delete(self, volume: Object) -> bool:
        """Delete a released volume from EC2, its folder, and then the object; whether to try again."""
        client = self._platform.client
        try:
            await self._driver.delete_volume(volume["spec"]["csi"]["volumeHandle"])
        except RpcError as error:
            self._note(volume, "Warning", "VolumeFailedDelete", str(error))
            return True
        path = client.path("v1", "persistentvolumes", None, volume["metadata"]["name"])
        await client.delete(path)
        current = await client.get(path)
        if current and FINALIZER in (current["metadata"].get("finalizers") or []):
            kept = [f for f in current["metadata"]["finalizers"] if f != FINALIZER]
            version = current["metadata"]["resourceVersion"]
            try:
                await client.patch(path, {"metadata": {"finalizers": kept, "resourceVersion": version}})
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
