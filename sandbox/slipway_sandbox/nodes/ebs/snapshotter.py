"""The csi-snapshotter beside the EBS driver: snapshot contents become EC2 snapshots, and go again.

Words are the sidecar's (external-snapshotter v8, pkg/sidecar-controller).
"""

from __future__ import annotations

from datetime import datetime

from slipway_sandbox.controllers.controller import Controller, World
from slipway_sandbox.controllers.objects import (
    Key,
    Object,
    annotations_of,
    is_deleting,
    name_of,
    status_of,
    timestamp,
)
from slipway_sandbox.controllers.snapshots import BEING_DELETED, CLASSES, CONTENT_BOUND, CONTENTS
from slipway_sandbox.controllers.writes import Note, Patch, update_status
from slipway_sandbox.nodes.ebs.driver import EbsDriver, EbsSnapshot, RpcError
from slipway_sandbox.nodes.ebs.requests import DRIVER, GIB, BadParameter, snapshot_arguments

POLL_SECONDS = 0.5  # how often EC2 is asked whether a snapshot is complete
ERROR_SECONDS = 2.0


class _Failed(Exception):
    """Why there is no snapshot (yet), in the sidecar's words."""


def is_to_be_deleted(content: Object) -> bool:
    """Its snapshot is on its way out, or never was bound to it."""
    if not is_deleting(content):
        return False
    source, reference = content["spec"]["source"], content["spec"]["volumeSnapshotRef"]
    if "snapshotHandle" in source and not reference.get("uid"):
        return True
    return BEING_DELETED in annotations_of(content)


def _name(content: Object) -> str:
    return f"snapshot-{content['spec']['volumeSnapshotRef'].get('uid')}"


def status_with(old: Object, snapshot: EbsSnapshot) -> Object:
    """The content's status after a look at EC2: what was known once does not change, and an error is over."""
    nanoseconds = int(snapshot.created.timestamp() * 1e6) * 1000
    status = {
        "snapshotHandle": snapshot.handle,
        "creationTime": nanoseconds,
        "restoreSize": snapshot.size * GIB,
        **old,
    }
    status["readyToUse"] = snapshot.ready
    status.pop("error", None)
    return status


class Snapshotter(Controller):
    component = "snapshotter"
    needs = (CONTENTS, CLASSES)

    def __init__(self, world: World, driver: EbsDriver, cluster: str) -> None:
        super().__init__(world)
        self._driver, self._cluster = driver, cluster

    def wire(self) -> None:
        self.watch_own(CONTENTS)

    async def reconcile(self, key: Key) -> None:
        content = self.world.store(CONTENTS).get(*key)
        if content is None or content["spec"]["driver"] != DRIVER:
            return
        if not await self._driver.installed():
            self.queue.add_after(key, ERROR_SECONDS)
        elif is_deleting(content):
            if is_to_be_deleted(content):
                await self._delete(key, content)
        elif not status_of(content).get("readyToUse"):
            await self._make(key, content)

    async def _make(self, key: Key, content: Object) -> None:
        try:
            if CONTENT_BOUND not in (content["metadata"].get("finalizers") or []):
                return  # the snapshot-controller's turn: without it a deletion would leak the snapshot
            snapshot = await self._look(content)
        except _Failed as failed:
            await self._tell(content, str(failed))
            self.queue.add_after(key, ERROR_SECONDS)
            return
        await self._write_status(content, status_with(status_of(content), snapshot))
        if not snapshot.ready:
            self.queue.add_after(key, POLL_SECONDS)

    async def _look(self, content: Object) -> EbsSnapshot:
        """The content's snapshot as EC2 has it now, taken if need be. Raises _Failed."""
        source = content["spec"]["source"]
        handle = source.get("snapshotHandle")
        try:
            if handle:
                found = await self._driver.snapshot(handle)
                if found is None:
                    raise _Failed(
                        f"Failed to check and update snapshot content: failed to list snapshot for content {name_of(content)}: "
                        f'"can not find snapshot for snapshotID {handle}"'
                    )
                return found
            chosen = self._class(content)
            arguments, zones = snapshot_arguments(content, _name(content), chosen, self._cluster)
            return await self._driver.create_snapshot(_name(content), arguments, zones)
        except (RpcError, BadParameter) as error:
            text = str(error)
            if isinstance(error, BadParameter):
                text = f"rpc error: code = InvalidArgument desc = {text}"
            quoted = text.replace('"', '\\"')
            what = source.get("volumeHandle") or handle
            raise _Failed(
                f'Failed to create snapshot: failed to take snapshot of the volume {what}: "{quoted}"'
            ) from error

    def _class(self, content: Object) -> Object:
        name = content["spec"].get("volumeSnapshotClassName")
        chosen = self.world.store(CLASSES).get("", name or "")
        if chosen is None:
            why = f'volumesnapshotclass.snapshot.storage.k8s.io \\"{name}\\" not found'
            raise _Failed(
                f"Failed to create snapshot: failed to get input parameters to create snapshot for content "
                f'{name_of(content)}: "{why}"'
            )
        return chosen

    async def _delete(self, key: Key, content: Object) -> None:
        """EC2's snapshot first where the policy says so, then the finalizer that held the object."""
        if content["spec"]["deletionPolicy"] == "Delete":
            try:
                # By name where the status was not written any more: upstream waits for that with an annotation.
                handle = status_of(content).get("snapshotHandle") or await self._driver.named(_name(content))
                if handle:
                    await self._driver.delete_snapshot(handle)
            except RpcError as error:
                self._note(content, "SnapshotDeleteError", f"Failed to delete snapshot: {error}")
                self.queue.add_after(key, ERROR_SECONDS)
                return
        present = content["metadata"].get("finalizers") or []
        if CONTENT_BOUND in present:
            kept = [name for name in present if name != CONTENT_BOUND]
            version = content["metadata"]["resourceVersion"]
            body = {"metadata": {"finalizers": kept, "resourceVersion": version}}
            await self.world.write(self.component, Patch(CONTENTS, content, body))

    async def _tell(self, content: Object, message: str) -> None:
        """The error in the status and an event, both once for the same words."""
        status = status_of(content)
        if (status.get("error") or {}).get("message") == message:
            return
        now: datetime = self.world.now()
        error = {"message": message, "time": timestamp(now)}
        await self._write_status(content, {**status, "error": error, "readyToUse": False})
        self._note(content, "SnapshotCreationFailed", message)

    async def _write_status(self, content: Object, status: Object) -> None:
        for write in update_status(CONTENTS, content, status):
            await self.world.write(self.component, write)

    def _note(self, content: Object, reason: str, message: str) -> None:
        note = Note(content, CONTENTS.kind, reason, message, warning=True)
        self.world.recorder.note(f"{self.component} {DRIVER}", note)
