"""How long a pod may take to start for its image's sake, from the image's bytes and the slowest pull."""

from __future__ import annotations

import functools

from tasks.cloud.registry import Image, read_image
from tasks.records.environment import Environment

MIB = 1 << 20
# beside the pull: the pod's sandbox, its volumes, unpacking
BESIDE_SECONDS = 120.0

# preflight has asked by the time a stage does
read_once = functools.lru_cache(maxsize=64)(read_image)


def pull_seconds(image: Image, environment: Environment) -> float:
    """The slowest pull that is allowed for; 0 for an image whose size is unknown."""
    return image.size / (environment.deadlines.image_pull_mib_s * MIB)


def start_seconds(image: Image, environment: Environment) -> float:
    """Deadline until a pod's containers run: `deadlines.pod_start`, or longer where its image asks for it. Pure."""
    return max(environment.deadlines.pod_start, pull_seconds(image, environment) + BESIDE_SECONDS)


def more_for_pull(image: str, environment: Environment) -> float:
    """Seconds that a pod of this image may take beyond `deadlines.pod_start`; 0 for most.

    Asks the image's registry, once in a process. What it does not tell adds nothing.
    """
    return start_seconds(read_once(image), environment) - environment.deadlines.pod_start
