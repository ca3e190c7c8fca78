"""Bytes of weights on one GPU, from the bytes by dtype that the safetensors headers add up to. Pure.

vLLM 0.32.0 loads floating-point tensors in the dtype it computes in (`set_default_torch_dtype` around
`initialize_model`, vllm/model_executor/model_loader/base_loader.py) and quantised ones as they are stored.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tasks.preflight.arguments import Settings
from tasks.preflight.config import Config
from tasks.preflight.layers import kinds_of
from tasks.preflight.states import WIDTH

# Bytes an element by safetensors' names. https://github.com/huggingface/safetensors
STORED: Mapping[str, float] = {
    "F64": 8,
    "F32": 4,
    "F16": 2,
    "BF16": 2,
    "F8_E4M3": 1,
    "F8_E5M2": 1,
    "F8_E8M0": 1,
    "I64": 8,
    "I32": 4,
    "I16": 2,
    "I8": 1,
    "U8": 1,
    "BOOL": 1,
    "F4": 0.5,
}
FLOATS = ("F64", "F32", "F16", "BF16")
# Methods that quantise plain weights while loading: bytes an element of a linear layer, with its scales.
ONLINE: Mapping[str, float] = {
    "fp8": 1.0,
    "fp8_per_tensor": 1.0,
    "fp8_per_channel": 1.0,
    "fp8_per_block": 1.0,
    "mxfp8": 1.0 + 1 / 32,
    "experts_int8": 1.0,
    "int8_per_channel_weight_only": 1.0,
    "nvfp4_per_token": 0.5 + 1 / 16,
    "bitsandbytes": 0.5 + 4 / 64,  # one float32 for each block of 64
}
MXFP4_ALIGN = (128, 256)  # intermediate and hidden size, `mxfp4_round_up_hidden_size_and_intermediate_size`


@dataclass(frozen=True)
class Share:
    """`even`: the weights over the ranks that share them; `more`: what the fullest GPU holds beside it."""

    whole: int
    even: int
    more: tuple[tuple[str, int], ...] = ()

    @property
    def total(self) -> int:
        return self.even + sum(size for _, size in self.more)


def served_bytes(
    stored: Mapping[str, int], dtype: str, *, quantised: bool, online: str | None, config: Config | None
) -> int:
    """Bytes of all weights as vLLM holds them. `stored`: bytes by safetensors dtype; `dtype`: what it computes in.

    `quantised`: the repo's weights are; `online`: the method that quantises plain ones while loading.
    """
    width = WIDTH.get(dtype, 2)
    total = 0.0
    for name, size in stored.items():
        plain = name in FLOATS and not (quantised and name in ("F32", "F64"))
        total += size / STORED[name] * width if plain else size
    if online and online in ONLINE and not quantised and config is not None:
        kept = min(total, embedding_bytes(config, width) * (1 if tied(config) else 2))
        total = kept + (total - kept) / width * ONLINE[online]
    return int(total)


def tied(config: Config) -> bool:
    """Whether the output layer is the embedding itself."""
    said = config.top.get("tie_word_embeddings")
    return bool(config.get("tie_word_embeddings", False) if said is None else said)


def embedding_bytes(config: Config, width: float) -> int:
    try:
        return int(config.vocabulary * config.hidden_size * width)
    except ValueError:
        return 0


def share(whole: int, config: Config | None, settings: Settings, width: float, *, mxfp4: int = 0) -> Share:
    """What of `whole` bytes the fullest GPU holds; `mxfp4` of them are experts in MXFP4. Without a config: an even share."""
    ranks = settings.ranks
    if config is None:
        return Share(whole, -(-whole // ranks))
    experts = int(whole * expert_share(config)) if settings.data > 1 else 0
    even = -(-(whole - experts) // ranks) + -(-experts // (ranks * settings.data))
    more: list[tuple[str, int]] = []
    try:
        more += _uneven(whole, config, settings, width)
        if mxfp4 and (padding := _padding(mxfp4, config, settings)):
            more.append(("padding of the experts' MXFP4 kernels", padding))
    except ValueError:  # sizes config.json does not say: the even share stands
        pass
    if settings.offload_bytes:
        more.append(("offloaded to the CPU (--cpu-offload-gb)", -min(settings.offload_bytes, even)))
    return Share(whole, even, tuple(more))


def _uneven(whole: int, config: Config, settings: Settings, width: float) -> list[tuple[str, int]]:
    found = []
    embedding = embedding_bytes(config, width) // settings.tensor
    if settings.pipeline > 1:
        ends = embedding * (1 if tied(config) else 2)
        layers = whole // settings.tensor - ends
        stage = layers * -(-config.layers // settings.pipeline) // config.layers + embedding
        if (extra := stage - whole // settings.ranks) > 0:
            found.append(("embedding and longest stage of the pipeline", extra))
    if not config.is_latent and settings.tensor > config.kv_heads > 0:
        attention = sum(kind in ("full", "sliding", "chunked", "both") for kind in kinds_of(config))
        copies = 2 * attention // settings.pipeline * config.hidden_size * config.head_size * width
        extra = int(copies * (1 - config.kv_heads / settings.tensor))
        found.append(("key-value projections, copied to every rank", extra))
    if settings.lora_slots:
        found.append(("LoRA slots (--max-loras x --max-lora-rank)", _lora(config, settings)))
    return found


def _lora(config: Config, settings: Settings) -> int:
    """A and B of each linear layer, in the model's dtype of two bytes (`create_lora_weights`)."""
    hidden, inner = config.hidden_size, config.size("intermediate_size", 4 * config.hidden_size)
    heads, size = config.heads * config.head_size, config.kv_heads * config.head_size
    rows = 3 * hidden + heads + 2 * size + heads + hidden + 2 * (hidden + inner) + inner + hidden
    return settings.lora_slots * settings.lora_rank * rows * config.layers * 2 // settings.ranks


def _padding(stored: int, config: Config, settings: Settings) -> int:
    inner, hidden = config.size("intermediate_size") // settings.tensor, config.hidden_size
    padded = (inner + -inner % MXFP4_ALIGN[0]) * (hidden + -hidden % MXFP4_ALIGN[1])
    return int(stored / settings.ranks * (padded / (inner * hidden) - 1))


def expert_share(config: Config) -> float:
    """The routed experts' share of all parameters, from the sizes in config.json; 0 for a dense model."""
    try:
        experts = config.experts
        if not experts:
            return 0.0
        hidden, layers = config.hidden_size, config.layers
        inner = int(config.get("moe_intermediate_size") or config.number("intermediate_size"))
        dense = int(config.get("first_k_dense_replace") or 0)
        routed = (layers - dense) * experts * 3 * hidden * inner
        attention = layers * hidden * config.head_size * 2 * (config.heads + config.kv_heads)
        other = attention + dense * 3 * hidden * int(config.get("intermediate_size") or inner)
        other += 2 * config.vocabulary * hidden
        return routed / (routed + other)
    except ValueError:
        return 0.0
