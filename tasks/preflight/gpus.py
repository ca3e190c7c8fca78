"""What a GPU is to vLLM: its compute capability, and the memory CUDA shows of it. Pure.

EC2 names the GPU and its nominal memory (DescribeInstanceTypes). CUDA shows less: error correction and the driver keep some.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

GIB = 2**30
# From vLLM 0.20 on its images are built with CUDA 13, which has no code for less than 7.5 (vllm-project/vllm#39878);
# its documentation says 7.0 up to 0.14.0 and 7.5 in 0.21.0 (docs/getting_started/installation/gpu.cuda.inc.md).
LEAST_SINCE, LEAST, LEAST_BEFORE = (0, 20), 75, 70

# Compute capability by the name EC2 gives the GPU. https://developer.nvidia.com/cuda-gpus and, for older ones,
# https://developer.nvidia.com/cuda-legacy-gpus. Ten times the number, as vLLM counts.
CAPABILITY: Mapping[str, int] = {
    "K80": 37,
    "M60": 52,
    "V100": 70,
    "T4": 75,
    "T4g": 75,
    "A100": 80,
    "A10G": 86,
    "L4": 89,
    "L40S": 89,
    "H100": 90,
    "H200": 90,
    "B200": 100,
    "B300": 103,
    "RTX PRO 4500": 120,
    "RTX PRO Server 6000": 120,
}
# GiB that CUDA gave as "total capacity", by name and EC2's nominal GiB.
# T4: vllm-project/vllm#2140 on g4dn. L4: pytorch/pytorch#175666 (vLLM on g6). L40S: stepfun-ai/Step-Video-T2V#8.
# A100 80 GB: vllm-project/vllm-omni#276. H100: vllm-project/vllm#27508. T4g is a T4 on another board: taken as equal.
MEASURED: Mapping[tuple[str, int], float] = {
    ("T4", 16): 14.58,
    ("T4g", 16): 14.58,
    ("L4", 22): 22.05,
    ("L40S", 44): 44.42,
    ("A100", 80): 79.32,
    ("H100", 80): 79.11,
}
# Of a GPU nobody measured: the smallest share among those measured but the T4, whose nominal size EC2 gives with the
# memory that error correction takes.
SHOWN = 0.985


@dataclass(frozen=True)
class Gpu:
    """One GPU of an instance type. `name` as EC2 says it, without the maker; `memory`: bytes CUDA shows."""

    name: str
    memory: int
    capability: int | None


def gpu_of(name: str, nominal: int) -> Gpu:
    """The GPU EC2 calls `name` ("NVIDIA T4"), of so many nominal bytes."""
    short = name.removeprefix("NVIDIA").strip()
    measured = MEASURED.get((short, nominal // GIB))
    memory = int(measured * GIB) if measured else int(nominal * SHOWN)
    return Gpu(short, memory, CAPABILITY.get(short))


def least_capability(version: str) -> int:
    """The compute capability that the official image of a vLLM version is built for at least."""
    major, minor = (int(part) for part in version.split(".")[:2])
    return LEAST if (major, minor) >= LEAST_SINCE else LEAST_BEFORE


def capability_of(gpu_name: str) -> int | None:
    """75 of "NVIDIA T4"; None for a GPU that is not in the table."""
    return CAPABILITY.get(gpu_name.removeprefix("NVIDIA").strip())


def shown(capability: int) -> str:
    return f"{capability // 10}.{capability % 10}"
