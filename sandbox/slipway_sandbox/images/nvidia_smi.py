"""Stand-in for nvidia-smi as it is asked for one csv line a GPU: --query-gpu=name,memory.total --format=csv,noheader,nounits."""

from __future__ import annotations

import os
import sys

from slipway_sandbox.images.vllm.visible import gpus

QUERY = ["--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]


def main() -> int:
    if sys.argv[1:] != QUERY:
        print(f"nvidia-smi: this sandbox answers {' '.join(QUERY)} only", file=sys.stderr)
        return 2
    found = gpus(os.environ)
    if not found:
        print("No devices were found")
        return 6
    for _ in found:
        print(f"NVIDIA GPU, {os.environ['SLIPWAY_SANDBOX_GPU_MEMORY_MIB']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
