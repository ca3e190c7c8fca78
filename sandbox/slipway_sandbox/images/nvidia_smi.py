"""Stand-in for nvidia-smi as it is asked for one csv line a GPU: name with memory, or with the driver's version."""

from __future__ import annotations

import os
import sys

from slipway_sandbox.images.vllm.visible import gpus

MEMORY = ["--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]
DRIVER = ["--query-gpu=name,driver_version", "--format=csv,noheader"]
VERSION = "580.95.05"


def main() -> int:
    if sys.argv[1:] not in (MEMORY, DRIVER):
        print(
            f"nvidia-smi: this sandbox answers {' '.join(MEMORY)} or {' '.join(DRIVER)} only", file=sys.stderr
        )
        return 2
    found = gpus(os.environ)
    if not found:
        print("No devices were found")
        return 6
    second = VERSION if sys.argv[1:] == DRIVER else os.environ["SLIPWAY_SANDBOX_GPU_MEMORY_MIB"]
    for _ in found:
        print(f"NVIDIA GPU, {second}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
