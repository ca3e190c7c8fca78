"""The controllers that carry out what `snapshots` decides: the program of the snapshot-controller add-on."""

from __future__ import annotations

from slipway_sandbox.controllers.controller import Controller
from slipway_sandbox.controllers.objects import CLAIMS, VOLUMES, Key, Object, key_of, name_of
from slipway_sandbox.controllers.snapshots import (
    CLASSES,
    CONTENTS,
    SNAPSHOTS,
    Surroundings,
    content_name,
    decide_content,
    decide_snapshot,
    is_restored_to,
    source_of,
    waits_for_claim,
)
from slipway_sandbox.controllers.volumes import is_bound


class SnapshotController(Controller):
    component = "snapshot-controller"
    needs = (SNAPSHOTS, CONTENTS, CLASSES, CLAIMS, VOLUMES)

    def wire(self) -> None:
        self.watch_own(SNAPSHOTS)
        self.watch(CONTENTS, self._snapshot_of)
        self.watch(CLAIMS, self._snapshots_of)
        self.watch(CLASSES, lambda _: self._all())

    async def reconcile(self, key: Key) -> None:
        snapshot = self.world.store(SNAPSHOTS).get(*key)
        if snapshot is not None:
            await self.act(key, decide_snapshot(snapshot, self._around(snapshot), self.world.now()))

    def _around(self, snapshot: Object) -> Surroundings:
        store, namespace = self.world.store, snapshot["metadata"]["namespace"]
        source, _ = source_of(snapshot)
        claim = store(CLAIMS).get(namespace, source) if source else None
        volume = store(VOLUMES).get("", claim["spec"]["volumeName"]) if claim and is_bound(claim) else None
        return Surroundings(
            content=store(CONTENTS).get("", content_name(snapshot)),
            claim=claim,
            volume=volume,
            classes=list(store(CLASSES)),
            restoring=any(is_restored_to(c, snapshot) for c in store(CLAIMS).within(namespace)),
            claim_is_source=source is not None
            and waits_for_claim(snapshot, source, store(SNAPSHOTS).within(namespace)),
        )

    def _snapshot_of(self, content: Object) -> list[Key]:
        reference = content["spec"]["volumeSnapshotRef"]
        named = [key_of(s) for s in self.world.store(SNAPSHOTS) if source_of(s)[1] == name_of(content)]
        return [(reference.get("namespace", ""), reference.get("name", "")), *named]

    def _snapshots_of(self, claim: Object) -> list[Key]:
        within = self.world.store(SNAPSHOTS).within(claim["metadata"]["namespace"])
        return [
            key_of(snapshot)
            for snapshot in within
            if name_of(claim) == source_of(snapshot)[0] or is_restored_to(claim, snapshot)
        ]

    def _all(self) -> list[Key]:
        return [key_of(snapshot) for snapshot in self.world.store(SNAPSHOTS)]


class SnapshotContentController(Controller):
    component = "snapshot-controller"
    needs = (CONTENTS,)

    def wire(self) -> None:
        self.watch_own(CONTENTS)

    async def reconcile(self, key: Key) -> None:
        content = self.world.store(CONTENTS).get(*key)
        if content is not None:
            await self.act(key, decide_content(content))
