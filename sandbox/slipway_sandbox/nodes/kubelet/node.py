"""What a pod's worker needs to know of the node it runs on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from slipway_sandbox.nodes.instance_types import InstanceType
from slipway_sandbox.nodes.kubelet.devices import DeviceManager
from slipway_sandbox.nodes.kubelet.images import ImageStore
from slipway_sandbox.nodes.platform import Platform


@dataclass
class NodeContext:
    """One node as its pods see it; `working_gpus` is how many GPUs its driver finds now."""

    name: str
    address: str
    type: InstanceType
    platform: Platform
    images: ImageStore
    devices: DeviceManager
    working_gpus: Callable[[], int]

    @property
    def gpu_folder(self) -> Path:
        """Where engines write what their GPUs do and the metrics exporter reads it."""
        return self.platform.folder / "nodes" / self.name / "gpu"
