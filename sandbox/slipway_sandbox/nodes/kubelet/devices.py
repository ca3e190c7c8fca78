"""The kubelet's device manager: which GPUs a pod gets, and its refusal when there are not enough."""

from __future__ import annotations

import math
from collections.abc import Callable

from slipway_sandbox.apiclient import Object
from slipway_sandbox.controllers.objects import quantity

GPU = "nvidia.com/gpu"


class AdmissionRefused(Exception):
    """The node does not take the pod; it becomes Failed with this reason and message."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason, self.message = reason, message


class DeviceManager:
    """Hands out the node's GPUs, `available()` of them, each to one pod."""

    def __init__(self, node: str, available: Callable[[], int]) -> None:
        self._node, self._available = node, available
        self._owners: dict[int, str] = {}

    def admit(self, pod: Object) -> dict[str, str]:
        """The device variables for the pod's containers. Raises AdmissionRefused."""
        uid = pod["metadata"]["uid"]
        wanted = sum(
            math.ceil(quantity(((c.get("resources") or {}).get("limits") or {}).get(GPU, "0")))
            for c in pod["spec"]["containers"]
        )
        if not wanted:
            return {}
        free = [index for index in range(self._available()) if index not in self._owners]
        if len(free) < wanted:
            raise AdmissionRefused(
                "UnexpectedAdmissionError",
                "Pod was rejected: Allocate failed due to requested number of devices unavailable for "
                f"{GPU}. Requested: {wanted}, Available: {len(free)}, which is unexpected",
            )
        for index in free[:wanted]:
            self._owners[index] = uid
        return {"NVIDIA_VISIBLE_DEVICES": ",".join(self.device_id(index) for index in free[:wanted])}

    def release(self, uid: str) -> None:
        """The pod ended: its devices are free."""
        self._owners = {index: owner for index, owner in self._owners.items() if owner != uid}

    def device_id(self, index: int) -> str:
        """A GPU's UUID, stable for this node and index."""
        digits = self._node.encode().hex()[-20:].rjust(20, "0")
        return f"GPU-{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{index:012x}"
