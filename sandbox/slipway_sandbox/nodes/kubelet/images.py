"""A node's images: which are pulled, and how a pull goes wrong."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from slipway_sandbox.apiclient import Object
from slipway_sandbox.faults import Faults
from slipway_sandbox.images import table
from slipway_sandbox.nodes.kubelet.backoff import Backoff

ERROR_SHOWN = 0.25  # of the pause: how long ErrImagePull shows before ImagePullBackOff


class ImageStore:
    """The images of one node. `backoff` is the first pause between pulls, in seconds (10 in the kubelet)."""

    def __init__(self, faults: Faults, backoff: float) -> None:
        self._faults, self._backoff = faults, backoff
        self.present: set[str] = set()

    async def pull(
        self,
        container: Object,
        waiting: Callable[[str, str], None],
        record: Callable[[str, str, str], None],
    ) -> table.Image:
        """The container's image, after as many attempts as it takes; the policy decides whether a registry is asked."""
        name = container["image"]
        policy = container.get("imagePullPolicy") or "IfNotPresent"
        pauses = Backoff(self._backoff)
        while True:
            if policy != "Always" and name in self.present:
                found = table.resolve(name)
                if found is not None:
                    record("Normal", "Pulled", f'Container image "{name}" already present on machine')
                    return found
            if policy == "Never":
                waiting(
                    "ErrImageNeverPull", f'Container image "{name}" is not present with pull policy of Never'
                )
                record(
                    "Warning",
                    "ErrImageNeverPull",
                    f'Container image "{name}" is not present with pull policy of Never',
                )
                await asyncio.sleep(pauses.pause())
                continue
            found = self._ask_registry(name, record)
            if found is not None:
                return found
            await self._failed(name, pauses.pause(), waiting, record)

    def _ask_registry(self, name: str, record: Callable[[str, str, str], None]) -> table.Image | None:
        began = time.monotonic()
        record("Normal", "Pulling", f'Pulling image "{name}"')
        found = None if self._faults.hit("image-not-found", target=name) else table.resolve(name)
        if found is not None:
            self.present.add(name)
            took = f"{round((time.monotonic() - began) * 1000)}ms"
            record(
                "Normal",
                "Pulled",
                f'Successfully pulled image "{name}" in {took} ({took} including waiting). Image size: {found.size_bytes} bytes.',
            )
        return found

    async def _failed(
        self,
        name: str,
        pause: float,
        waiting: Callable[[str, str], None],
        record: Callable[[str, str, str], None],
    ) -> None:
        why = (
            f'rpc error: code = NotFound desc = failed to pull and unpack image "{name}": '
            f'failed to resolve reference "{name}": {name}: not found'
        )
        record("Warning", "Failed", f'Failed to pull image "{name}": {why}')
        record("Warning", "Failed", "Error: ErrImagePull")
        waiting("ErrImagePull", why)
        await asyncio.sleep(pause * ERROR_SHOWN)
        record("Normal", "BackOff", f'Back-off pulling image "{name}"')
        record("Warning", "Failed", "Error: ImagePullBackOff")
        waiting("ImagePullBackOff", f'Back-off pulling image "{name}": ErrImagePull: {why}')
        await asyncio.sleep(pause * (1 - ERROR_SHOWN))
