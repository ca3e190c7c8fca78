"""Compute an engine's GPU memory: weights, activations, and the KV cache in what is left. Pure.

Follows vLLM's `gpu_worker.determine_available_memory`; activations and CUDA context are estimates, as no model
runs here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from slipway_sandbox.images.vllm.model import DTYPE_BYTES, ModelConfig

GIB: Final = 1 << 30
MIB: Final = 1 << 20
CUDA_CONTEXT_BYTES: Final = 256 * MIB  # driver context, cuBLAS workspaces: outside PyTorch's allocator
CUDA_GRAPH_BYTES: Final = 64 * MIB
BLOCK_SIZE: Final = 16  # tokens


class OutOfMemoryError(RuntimeError):
    """CUDA is out of memory."""

    __module__ = "torch"


def gib(size: float) -> str:
    return f"{round(size / GIB, 2)}"


@dataclass(frozen=True)
class Plan:
    """Bytes on each GPU, and the KV cache's size in tokens."""

    total: int
    weights: int
    activations: int
    graphs: int
    kv_cache: int
    kv_tokens: int
    max_model_len: int

    @property
    def used(self) -> int:
        return self.weights + self.activations + self.graphs + self.kv_cache + CUDA_CONTEXT_BYTES

    @property
    def max_concurrency(self) -> float:
        return self.kv_tokens / self.max_model_len


def out_of_memory(total: int, wanted: int, allocated: int) -> OutOfMemoryError:
    """PyTorch's error for an allocation of `wanted` bytes that does not fit beside `allocated`."""
    free = max(total - allocated - CUDA_CONTEXT_BYTES, 0)
    return OutOfMemoryError(
        f"CUDA out of memory. Tried to allocate {wanted / MIB:.2f} MiB. GPU 0 has a total capacity of "
        f"{total / GIB:.2f} GiB of which {free / MIB:.2f} MiB is free. Including non-PyTorch memory, this process has "
        f"{(total - free) / GIB:.2f} GiB memory in use. Of the allocated memory {allocated / GIB:.2f} GiB is allocated "
        "by PyTorch, and 12.81 MiB is reserved by PyTorch but unallocated. If reserved but unallocated memory is large "
        "try setting PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True to avoid fragmentation.  See documentation for "
        "Memory Management  (https://pytorch.org/docs/stable/notes/cuda.html#environment-variables)"
    )


def check_weights(total: int, weights: int, layers: int) -> None:
    """Raises OutOfMemoryError if the weights alone do not fit on the GPU."""
    capacity = total - CUDA_CONTEXT_BYTES
    if weights > capacity:
        layer = max(weights // max(layers, 1), 2 * MIB)
        raise out_of_memory(total, layer // 2, max(capacity - capacity % layer - layer // 4, 0))


def activation_bytes(config: ModelConfig, max_num_batched_tokens: int, max_num_seqs: int) -> int:
    """Peak bytes of one forward pass: a layer's activations for a full batch, and float32 logits for sampling."""
    width = 6 * config.hidden + 2 * config.intermediate
    return max_num_batched_tokens * width * DTYPE_BYTES[config.dtype] + max_num_seqs * config.vocabulary * 8


def plan_memory(
    config: ModelConfig,
    *,
    total: int,
    weights: int,
    utilization: float,
    tensor_parallel: int,
    kv_cache_dtype: str,
    max_num_batched_tokens: int,
    max_num_seqs: int,
    enforce_eager: bool,
    fit_length: bool,
) -> Plan:
    """Plan the memory of each of `tensor_parallel` GPUs, in bytes; `weights` is the whole model's.

    `fit_length` shortens max_model_len to what fits (`--max-model-len auto`). Raises OutOfMemoryError when the weights
    do not fit, ValueError when the KV cache cannot hold one request, both in vLLM's words.
    """
    share = weights // tensor_parallel
    check_weights(total, share, config.layers)
    activations = activation_bytes(config, max_num_batched_tokens, max_num_seqs) // tensor_parallel
    graphs = 0 if enforce_eager else CUDA_GRAPH_BYTES
    available = int(total * utilization) - share - activations - graphs - CUDA_CONTEXT_BYTES
    if available <= 0:
        raise ValueError(
            "No available memory for the cache blocks. Try increasing `gpu_memory_utilization` when initializing the "
            "engine (this flag also controls CPU memory reservation on the CPU backend, despite its name). See "
            "https://docs.vllm.ai/en/latest/configuration/conserving_memory/ for more details."
        )
    if config.encoder:  # nothing is kept from one request to the next
        return Plan(total, share, activations, graphs, 0, 0, config.max_model_len)
    element = DTYPE_BYTES.get(kv_cache_dtype, DTYPE_BYTES[config.dtype])
    heads = max(config.kv_heads // tensor_parallel, 1)
    block = 2 * config.layers * heads * config.head_dim * element * BLOCK_SIZE
    kv_tokens = available // block * BLOCK_SIZE
    length = min(config.max_model_len, kv_tokens) if fit_length else config.max_model_len
    needed = -(-length // BLOCK_SIZE) * block
    if needed > available:
        estimate = f"Based on the available memory, the estimated maximum model length is {kv_tokens}. "
        raise ValueError(
            f"To serve at least one request with the model's max seq len ({length}), ({gib(needed)} GiB KV cache is "
            f"needed, which is larger than the available KV cache memory ({gib(available)} GiB). "
            f"{estimate if kv_tokens else ''}Try increasing `gpu_memory_utilization` (which also controls CPU memory on the CPU backend) or decreasing "
            "`max_model_len` when initializing the engine. See "
            "https://docs.vllm.ai/en/latest/configuration/conserving_memory/ for more details."
        )
    kv_cache = available // block * block
    return Plan(total, share, activations, graphs, kv_cache, kv_tokens, length)
