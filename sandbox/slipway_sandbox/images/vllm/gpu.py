"""Write GPU memory and utilisation to a file for the DCGM exporter, from the memory plan and the running batch."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from slipway_sandbox.images.vllm.memory import MIB

WRITE_SECONDS: Final = 0.5
SMOOTHING: Final = 0.5  # weight of the newest half second in the average
FLOOR: Final = 60.0  # percent: one running sequence already keeps an SM busy for most of a sampling period
FULL_BATCH: Final = 32  # sequences at which utilisation reaches 100%


@dataclass(frozen=True)
class Owner:
    """The pod that holds the GPU, from the variables the kubelet sets."""

    uid: str
    namespace: str
    pod: str
    container: str
    devices: tuple[str, ...] = ()

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Owner | None:
        """Read the pod from the environment; None outside a pod."""
        uid = environment.get("SLIPWAY_SANDBOX_POD_UID")
        if not uid:
            return None
        return cls(
            uid,
            environment.get("SLIPWAY_SANDBOX_POD_NAMESPACE", environment.get("POD_NAMESPACE", "")),
            environment.get("SLIPWAY_SANDBOX_POD_NAME", environment.get("HOSTNAME", "")),
            environment.get("SLIPWAY_SANDBOX_CONTAINER", "vllm"),
            tuple(filter(None, environment.get("NVIDIA_VISIBLE_DEVICES", "").split(","))),
        )


class GpuFile:
    """`{folder}/{pod uid}.json`, replaced twice a second until `remove`."""

    def __init__(self, folder: Path, owner: Owner, total_bytes: int, gpus: int) -> None:
        self._path, self._owner, self._total, self._gpus = (
            folder / f"{owner.uid}.json",
            owner,
            total_bytes,
            gpus,
        )
        self._used = 0
        self._load: Callable[[], tuple[float, int]] = lambda: (0.0, 0)
        self._smoothed = 0.0
        self._busy_before = 0.0

    def hold(self, used_bytes: int) -> None:
        self._used = used_bytes

    def follow(self, load: Callable[[], tuple[float, int]]) -> None:
        """`load()` is (busy seconds so far, sequences running now)."""
        self._load = load

    def write(self, seconds: float) -> None:
        """Sample the `seconds` since the last write."""
        busy, running = self._load()
        share = min((busy - self._busy_before) / seconds, 1.0)
        self._busy_before = busy
        level = FLOOR + (100.0 - FLOOR) * min(running / FULL_BATCH, 1.0)
        self._smoothed += SMOOTHING * (share * level - self._smoothed)
        document = {
            "namespace": self._owner.namespace,
            "pod": self._owner.pod,
            "container": self._owner.container,
            "gpu_util": round(self._smoothed),
            "fb_used_mib": self._used // MIB,
            "fb_total_mib": self._total // MIB,
            "gpus": self._gpus,
            "devices": self._owner.devices,
        }
        partial = self._path.with_suffix(".partial")
        partial.write_text(json.dumps(document), "utf-8")
        partial.replace(self._path)

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            self.write(WRITE_SECONDS)
            await asyncio.sleep(WRITE_SECONDS)

    def remove(self) -> None:
        self._path.unlink(missing_ok=True)
