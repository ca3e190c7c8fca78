"""The NVIDIA driver of EKS's node image against the CUDA of the engine's image."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tasks.cloud.registry import Image
from tasks.preflight.rows import Row

# By `python -m tools.ami_drivers`: the driver of each release of the AL2023 NVIDIA image, from amazon-eks-ami's CHANGELOG.
RECORDED: dict[str, Any] = json.loads(Path(__file__).with_name("ami_drivers.json").read_text())
# CUDA's major version -> the least driver, by minor version compatibility:
# https://docs.nvidia.com/deploy/cuda-compatibility/minor-version-compatibility.html (read 2026-11)
LEAST_DRIVER = {11: 450, 12: 525, 13: 580}


def driver_of(release: str, drivers: Mapping[str, str]) -> str:
    """The driver of a release: of the newest recorded one that is not newer; empty where none is. Pure.

    `drivers`: by the day of the first release that had it, 20260610.
    """
    day = release.rpartition("-")[2]
    known = max((recorded for recorded in drivers if recorded <= day), default="")
    return drivers.get(known, "")


def judge_driver(release: str, image: Image) -> Row:
    """The row. Pure."""
    driver = driver_of(release, RECORDED["drivers"])
    if not driver:
        return Row("warn", f"no driver is recorded for the node image {release or 'of this version'}", _NEXT)
    where = f"driver {driver} of node image {release}"
    if release.rpartition("-")[2] > RECORDED["until"]:
        where = f"driver {driver} or newer of node image {release}"
    if image.unknown or not image.cuda:
        return Row("warn", f"{where}; the CUDA of the engine's image is unknown", _NEXT)
    least = LEAST_DRIVER.get(int(image.cuda.partition(".")[0]))
    if least is None:
        return Row("warn", f"{where}; the least driver for CUDA {image.cuda} is not recorded", _NEXT)
    if int(driver.partition(".")[0]) < least:
        return Row(
            "fail",
            f"{where} is older than CUDA {image.cuda} needs ({least})",
            "take a newer cluster.kubernetes_version or an engine.image built with an older CUDA",
        )
    return Row("ok", f"{where} runs CUDA {image.cuda}, which needs {least}")


_NEXT = (
    "compare https://github.com/awslabs/amazon-eks-ami/blob/main/CHANGELOG.md with the image's CUDA_VERSION"
)
