"""EC2's fast snapshot restores, which moto lacks: three operations added to its EC2, their state by the time passed."""

from __future__ import annotations

import threading
from typing import Any

from moto.core.responses import ActionResult
from moto.ec2.responses import EC2Response

from slipway_sandbox.aws.eks.state import Clock
from slipway_sandbox.aws.wire import Document
from slipway_sandbox.settings import ACCOUNT_ID


class FastSnapshotRestores:
    """(snapshot, zone) pairs that are being made fast. `seconds` each from enabling to optimizing to enabled."""

    def __init__(self, seconds: float, clock: Clock | None = None) -> None:
        self._seconds, self._clock = seconds, clock or Clock()
        self._lock = threading.Lock()
        self._pairs: dict[tuple[str, str], tuple[float, Document]] = {}

    def enable(self, snapshots: list[str], zones: list[str]) -> list[Document]:
        with self._lock:
            for pair in ((s, z) for s in snapshots for z in zones):
                times = {"EnablingTime": self._clock.now()}
                self._pairs.setdefault(pair, (self._clock.monotonic(), times))
            return [self._show(pair) for pair in self._pairs if pair[0] in snapshots and pair[1] in zones]

    def disable(self, snapshots: list[str], zones: list[str]) -> list[Document]:
        with self._lock:
            gone = [pair for pair in self._pairs if pair[0] in snapshots and pair[1] in zones]
            shown = [
                self._show(pair) | {"State": "disabling", "DisablingTime": self._clock.now()} for pair in gone
            ]
            for pair in gone:
                del self._pairs[pair]
            return shown

    def describe(self, filters: dict[str, list[str]]) -> list[Document]:
        keys = {"snapshot-id": "SnapshotId", "availability-zone": "AvailabilityZone", "state": "State"}
        with self._lock:
            rows = [self._show(pair) for pair in self._pairs]
        return [row for row in rows if all(row[keys[name]] in wanted for name, wanted in filters.items())]

    def _show(self, pair: tuple[str, str]) -> Document:
        started, times = self._pairs[pair]
        step = (self._clock.monotonic() - started) / self._seconds if self._seconds else 2
        return {
            "SnapshotId": pair[0],
            "AvailabilityZone": pair[1],
            "State": "enabling" if step < 1 else "optimizing" if step < 2 else "enabled",
            "StateTransitionReason": "Client.UserInitiated",
            "OwnerId": ACCOUNT_ID,
            **times,
        }


def extend(restores: FastSnapshotRestores) -> None:
    """Give moto's EC2 the three operations."""

    def enable(self: Any) -> ActionResult:
        snapshots = self._get_param("SourceSnapshotIds", [])
        for snapshot in snapshots:
            self.ec2_backend.get_snapshot(snapshot)
        rows = restores.enable(snapshots, self._get_param("AvailabilityZones", []))
        return ActionResult({"Successful": rows, "Unsuccessful": []})

    def disable(self: Any) -> ActionResult:
        rows = restores.disable(
            self._get_param("SourceSnapshotIds", []), self._get_param("AvailabilityZones", [])
        )
        return ActionResult({"Successful": rows, "Unsuccessful": []})

    def describe(self: Any) -> ActionResult:
        return ActionResult({"FastSnapshotRestores": restores.describe(self._filters_from_querystring())})

    EC2Response.enable_fast_snapshot_restores = enable
    EC2Response.disable_fast_snapshot_restores = disable
    EC2Response.describe_fast_snapshot_restores = describe
