"""Do the weights and one full-length request fit the GPUs? Pure arithmetic on the repo's own config.

KV cache of one token: 2 (key and value) x layers x kv heads x head size x bytes of the cache's dtype, shared
out over tensor-parallel ranks (https://docs.vllm.ai/en/latest/design/paged_attention.html). vLLM takes
`gpu_memory_utilization` of the whole memory and gives the KV cache what weights and activations leave.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tasks.records.model import Engine
from tasks.records.quantities import human_bytes

_DTYPE_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2, "fp8": 1}
# What a start takes beside weights and KV cache: CUDA context and graphs, and activations of one prefill
# step. The fixed part is what vLLM's own profile shows on A10G and L4; the activations grow with the batch.
CONTEXT_BYTES = 1_200 * 2**20
MAX_BATCHED_TOKENS = 8192  # vLLM's default max_num_batched_tokens for online serving


@dataclass(frozen=True)
class Architecture:
    """What config.json says about sizes."""

    layers: int
    kv_heads: int
    head_size: int
    hidden_size: int
    vocabulary: int
    max_positions: int
    dtype: str


@dataclass(frozen=True)
class Fit:
    """Bytes on ONE GPU. `longest` is the longest request the KV cache left can hold, in tokens."""

    budget: int
    weights: int
    activations: int
    kv_cache: int
    kv_per_token: int
    longest: int
    wanted: int

    @property
    def fits(self) -> bool:
        return self.kv_cache > 0 and self.longest >= self.wanted

    def __str__(self) -> str:
        return (
            f"{human_bytes(self.weights)} weights + {human_bytes(self.activations)} activations of "
            f"{human_bytes(self.budget)} a GPU; "
            + (
                f"{human_bytes(self.kv_cache)} KV cache holds {self.longest:,} tokens, {self.wanted:,} wanted"
                if self.kv_cache > 0
                else "nothing is left for the KV cache"
            )
        )


def architecture(config: dict[str, Any]) -> Architecture:
    """config.json (of the text model, where there are several) as sizes. Raises KeyError for what is missing."""
    text = config.get("text_config") or config
    heads, hidden = int(text["num_attention_heads"]), int(text["hidden_size"])
    return Architecture(
        layers=int(text["num_hidden_layers"]),
        kv_heads=int(text.get("num_key_value_heads") or heads),
        head_size=int(text.get("head_dim") or hidden // heads),
        hidden_size=hidden,
        vocabulary=int(text["vocab_size"]),
        max_positions=int(text.get("max_position_embeddings") or 0),
        dtype=str(config.get("dtype") or config.get("torch_dtype") or "bfloat16"),
    )


def attention_heads(config: dict[str, Any]) -> int | None:
    """None where config.json does not say."""
    heads = (config.get("text_config") or config).get("num_attention_heads")
    return int(heads) if heads else None


def fit(arch: Architecture, weight_bytes: int, engine: Engine, gpu_memory_bytes: int) -> Fit:
    """Whether one GPU of `gpu_memory_bytes` carries its share of the model and one longest request."""
    ranks = engine.tensor_parallel_size
    served = arch.dtype if engine.dtype == "auto" else engine.dtype
    cache_dtype = served if engine.kv_cache_dtype == "auto" else engine.kv_cache_dtype
    per_token = (
        2 * arch.layers * -(-arch.kv_heads // ranks) * arch.head_size * _DTYPE_BYTES.get(cache_dtype, 2)
    )
    width = _DTYPE_BYTES.get(served, 2)
    tokens = min(MAX_BATCHED_TOKENS, max(engine.max_model_len, 2048))
    activations = (
        CONTEXT_BYTES + tokens * arch.hidden_size * width * 6 + engine.max_num_seqs * arch.vocabulary * 4
    )
    weights = weight_bytes // ranks
    budget = int(gpu_memory_bytes * engine.gpu_memory_utilization)
    cache = budget - weights - activations
    return Fit(
        budget=budget,
        weights=weights,
        activations=activations,
        kv_cache=cache,
        kv_per_token=per_token,
        longest=max(0, cache // per_token),
        wanted=engine.max_model_len,
    )
