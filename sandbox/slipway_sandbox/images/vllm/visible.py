"""The GPUs that a container sees."""

from __future__ import annotations

from collections.abc import Mapping


def gpus(environment: Mapping[str, str]) -> list[str]:
    """Their ids, by NVIDIA_VISIBLE_DEVICES; `all`, the image's own value, means all that the node's driver finds."""
    visible = environment.get("NVIDIA_VISIBLE_DEVICES", "all")
    if visible == "all":
        visible = ",".join(map(str, range(int(environment.get("SLIPWAY_SANDBOX_GPUS", "1")))))
    return [device for device in visible.split(",") if device and device not in ("void", "none")]
