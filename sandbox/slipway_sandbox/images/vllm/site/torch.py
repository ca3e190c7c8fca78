"""Stand-in for torch in the serving image: the little of torch.cuda and of matrices that a GPU smoke test asks for.

A matrix holds one value everywhere, so its product is arithmetic. The fault `gpu-broken` (target: a node) makes the first GPU's
products wrong, or with value 1 raises as CUDA does after an uncorrectable ECC error.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from slipway_sandbox.faults import Faults
from slipway_sandbox.images.vllm.visible import gpus
from slipway_sandbox.settings import Settings

ECC = (
    "CUDA error: uncorrectable ECC error encountered\n"
    "CUDA kernel errors might be asynchronously reported at some other API call, so the stacktrace below might be incorrect."
)


@dataclass(frozen=True)
class Tensor:
    shape: tuple[int, int]
    value: float
    device: str

    def __matmul__(self, other: Tensor) -> Tensor:
        assert self.shape[1] == other.shape[0], "mat1 and mat2 shapes cannot be multiplied"
        product = self.value * other.value * self.shape[1]
        faults = Faults(Settings.from_environment().faults_file)
        if self.device == "cuda:0" and (
            fault := faults.hit("gpu-broken", os.environ["SLIPWAY_SANDBOX_NODE"])
        ):
            if fault.value:
                raise RuntimeError(ECC)
            product *= 1.0625
        return Tensor((self.shape[0], other.shape[1]), product, self.device)

    def min(self) -> Tensor:
        return self

    def max(self) -> Tensor:
        return self

    def item(self) -> float:
        return self.value


def full(size: tuple[int, int], fill_value: float, *, device: str) -> Tensor:
    return Tensor(size, fill_value, device)


class cuda:  # noqa: N801  torch's own spelling
    @staticmethod
    def device_count() -> int:
        return len(gpus(os.environ))

    @staticmethod
    def mem_get_info(index: int) -> tuple[int, int]:
        """(free, total) bytes."""
        total = int(os.environ["SLIPWAY_SANDBOX_GPU_MEMORY_MIB"]) * 2**20
        return total, total
