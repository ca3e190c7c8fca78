"""The image's size, and how long its pull may take. Pure."""

from __future__ import annotations

from tasks.cloud.image_pull import pull_seconds, start_seconds
from tasks.cloud.registry import Image
from tasks.preflight.rows import Row
from tasks.records.environment import Environment
from tasks.records.quantities import human_bytes, human_seconds


def judge_pull(name: str, image: Image, environment: Environment) -> Row:
    """The row: warming and rollouts wait as long as it says."""
    deadline, rate = environment.deadlines.pod_start, environment.deadlines.image_pull_mib_s
    if image.missing:
        return Row(
            "fail",
            f"{name} cannot be pulled: {image.unknown}",
            f"skopeo inspect docker://{name}; correct engine.image",
        )
    if image.unknown:
        return Row(
            "warn",
            f"the size of {name} is unknown ({image.unknown}); a node has {human_seconds(deadline)} to pull it",
            f"skopeo inspect docker://{name}; or raise deadlines.pod_start",
        )
    allowed = start_seconds(image, environment)
    detail = f"{human_bytes(image.size)}: {human_seconds(pull_seconds(image, environment))} at {rate:g} MiB/s"
    longer = f", longer than deadlines.pod_start ({human_seconds(deadline)})" if allowed > deadline else ""
    return Row("ok", f"{detail}; a pod may take {human_seconds(allowed)} to start{longer}")
