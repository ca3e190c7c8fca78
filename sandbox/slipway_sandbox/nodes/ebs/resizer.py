"""The external-resizer beside the EBS driver, and the kubelet's growing of the file system: claims that ask for more get it."""

from __future__ import annotations

import math

from slipway_sandbox.controllers.controller import Controller, World
from slipway_sandbox.controllers.objects import (
    CLAIMS,
    VOLUMES,
    Key,
    Object,
    quantity,
    status_of,
    timestamp,
)
from slipway_sandbox.controllers.volumes import claims_volume
from slipway_sandbox.controllers.writes import Note, Patch
from slipway_sandbox.nodes.ebs.driver import EbsDriver, RpcError
from slipway_sandbox.nodes.ebs.requests import DRIVER, GIB

RETRY_SECONDS = 2.0
RESIZING = "Resizing"


def wanted_gib(claim: Object, volume: Object) -> int | None:
    """The size in GiB a bound claim's volume is to grow to; None where claim and volume agree."""
    status = status_of(claim)
    if status.get("phase") != "Bound" or not claims_volume(volume, claim):
        return None
    asked = quantity(claim["spec"]["resources"]["requests"]["storage"])
    if asked <= quantity((status.get("capacity") or {}).get("storage", "0")):
        return None
    return math.ceil(asked / GIB)


class Resizer(Controller):
    component = "external-resizer"
    needs = (CLAIMS, VOLUMES)

    def __init__(self, world: World, driver: EbsDriver) -> None:
        super().__init__(world)
        self._driver = driver

    def wire(self) -> None:
        self.watch_own(CLAIMS)
        self.watch(VOLUMES, self._claim_of)

    @staticmethod
    def _claim_of(volume: Object) -> list[Key]:
        reference = volume["spec"].get("claimRef")
        return [(reference["namespace"], reference["name"])] if reference else []

    async def reconcile(self, key: Key) -> None:
        claim = self.world.store(CLAIMS).get(*key)
        volume = claim and self.world.store(VOLUMES).get("", claim["spec"].get("volumeName") or "")
        if not claim or not volume or (volume["spec"].get("csi") or {}).get("driver") != DRIVER:
            return
        size = wanted_gib(claim, volume)
        if size is None:
            return
        if not await self._driver.installed():
            self.queue.add_after(key, RETRY_SECONDS)
            return
        name = volume["metadata"]["name"]
        if not any(c["type"] == RESIZING for c in status_of(claim).get("conditions") or []):
            self._note(claim, "Resizing", f"External resizer is resizing volume {name}")
            now = timestamp(self.world.now())
            condition = {"type": RESIZING, "status": "True", "lastTransitionTime": now}
            await self._write(claim, {"conditions": [condition]})
        try:
            grown = await self._driver.expand_volume(volume["spec"]["csi"]["volumeHandle"], size)
        except RpcError as error:
            message = f'resize volume "{name}" by resizer "{DRIVER}" failed: {error}'
            self._note(claim, "VolumeResizeFailed", message, warning=True)
            self.queue.add_after(key, RETRY_SECONDS)
            return
        capacity = {"capacity": {"storage": f"{grown}Gi"}}
        await self.world.write(self.component, Patch(VOLUMES, volume, {"spec": capacity}))
        # A folder has no file system to grow: the step that waits for a kubelet is over at once.
        await self._write(claim, capacity | {"conditions": None})
        self._note(claim, "FileSystemResizeSuccessful", "MountVolume.NodeExpandVolume succeeded for volume")

    async def _write(self, claim: Object, status: Object) -> None:
        await self.world.write(self.component, Patch(CLAIMS, claim, {"status": status}, "status"))

    def _note(self, claim: Object, reason: str, message: str, *, warning: bool = False) -> None:
        note = Note(claim, CLAIMS.kind, reason, message, warning)
        self.world.recorder.note(f"{self.component} {DRIVER}", note)
