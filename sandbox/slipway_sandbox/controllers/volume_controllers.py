"""The controllers that carry out what `volumes` decides."""

from __future__ import annotations

from slipway_sandbox.controllers.controller import Controller
from slipway_sandbox.controllers.objects import (
    CLAIMS,
    PODS,
    STORAGE_CLASSES,
    VOLUMES,
    Key,
    Object,
    key_of,
)
from slipway_sandbox.controllers.pods import claim_names, holds
from slipway_sandbox.controllers.volumes import decide_claim, decide_volume


class ClaimController(Controller):
    component = "persistentvolume-controller"
    needs = (CLAIMS, VOLUMES, STORAGE_CLASSES, PODS)

    def wire(self) -> None:
        self.watch_own(CLAIMS)
        self.watch(VOLUMES, self._claims_of)
        self.watch(PODS, lambda pod: [(pod["metadata"]["namespace"], name) for name in claim_names(pod)])
        self.watch(STORAGE_CLASSES, lambda _: self._unbound())

    async def reconcile(self, key: Key) -> None:
        claim = self.world.store(CLAIMS).get(*key)
        if claim is None:
            return
        in_use = any(holds(pod, key[1]) for pod in self.world.store(PODS).within(key[0]))
        volumes = list(self.world.store(VOLUMES))
        classes = list(self.world.store(STORAGE_CLASSES))
        await self.act(key, decide_claim(claim, volumes, classes, in_use))

    def _unbound(self) -> list[Key]:
        return [key_of(c) for c in self.world.store(CLAIMS) if not c["spec"].get("volumeName")]

    def _claims_of(self, volume: Object) -> list[Key]:
        """The claim a volume names; a free volume may suit any unbound one."""
        reference = volume["spec"].get("claimRef")
        if reference:
            return [(reference["namespace"], reference["name"])]
        named = [
            c for c in self.world.store(CLAIMS) if c["spec"].get("volumeName") == volume["metadata"]["name"]
        ]
        return [*self._unbound(), *(key_of(claim) for claim in named)]


class VolumeController(Controller):
    component = "persistentvolume-controller"
    needs = (VOLUMES, CLAIMS)

    def wire(self) -> None:
        self.watch_own(VOLUMES)
        self.watch(CLAIMS, self._volumes_of)

    async def reconcile(self, key: Key) -> None:
        volume = self.world.store(VOLUMES).get(*key)
        if volume is not None:
            await self.act(key, decide_volume(volume, self.world.store(CLAIMS), self.world.now()))

    def _volumes_of(self, claim: Object) -> list[Key]:
        name = claim["spec"].get("volumeName")
        if name:
            return [("", name)]
        return [
            key_of(volume)
            for volume in self.world.store(VOLUMES)
            if (volume["spec"].get("claimRef") or {}).get("name") == claim["metadata"]["name"]
        ]
