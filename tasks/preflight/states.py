"""Bytes of the state a recurrent layer keeps for one request: Mamba, gated delta net, short convolution. Pure.

Shapes: `MambaStateShapeCalculator` in vLLM 0.32.0, vllm/model_executor/layers/mamba/mamba_utils.py, with the arguments
each model passes it (`get_mamba_state_shape_from_config` in vllm/model_executor/models/*.py). Dtypes: `*_state_dtype` beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tasks.preflight.config import Config

WIDTH = {"float32": 4, "bfloat16": 2, "float16": 2, "float8_e4m3fn": 1}


@dataclass(frozen=True)
class StateDtypes:
    """Bytes an element of the convolution's state and of the recurrent one; `tensor`: ranks they are shared over."""

    conv: int
    recurrent: int
    tensor: int


def mamba1(config: Config, inner: int, state: int, kernel: int, of: StateDtypes) -> int:
    """Mamba: (kernel - 1, inner) and (inner, state)."""
    share = inner // of.tensor
    return share * (kernel - 1) * of.conv + share * state * of.recurrent


def mamba2(
    inner: int, groups: int, heads: int, head_size: int, state: int, kernel: int, of: StateDtypes
) -> int:
    """Mamba-2: the groups are repeated where the ranks do not divide them."""
    extra = 0 if groups % of.tensor == 0 else of.tensor - groups
    conv = (inner + 2 * (groups + extra) * state) // of.tensor
    return conv * (kernel - 1) * of.conv + heads // of.tensor * head_size * state * of.recurrent


def gated_delta_net(config: Config, of: StateDtypes) -> int:
    """Qwen3-Next, Qwen3.5, OLMo hybrid."""
    key_heads, value_heads = config.number("linear_num_key_heads"), config.number("linear_num_value_heads")
    key_size, value_size = config.number("linear_key_head_dim"), config.number("linear_value_head_dim")
    conv = (key_size * key_heads * 2 + value_size * value_heads) // of.tensor
    kernel = config.number("linear_conv_kernel_dim")
    recurrent = value_heads // of.tensor * value_size * key_size
    return conv * (kernel - 1) * of.conv + recurrent * of.recurrent


def _plain_mamba(config: Config, of: StateDtypes) -> int:
    inner = config.get("intermediate_size") or config.number("expand") * config.hidden_size
    return mamba1(config, int(inner), config.number("state_size"), config.number("conv_kernel"), of)


def _plain_mamba2(config: Config, of: StateDtypes) -> int:
    return mamba2(
        config.number("expand") * config.hidden_size,
        config.number("n_groups"),
        config.number("num_heads"),
        config.number("head_dim"),
        config.number("state_size"),
        config.number("conv_kernel"),
        of,
    )


def _jamba(config: Config, of: StateDtypes) -> int:
    inner = config.number("mamba_expand") * config.hidden_size
    return mamba1(config, inner, config.number("mamba_d_state"), config.number("mamba_d_conv"), of)


def _granite(config: Config, of: StateDtypes) -> int:
    inner = config.get("mamba_d_ssm") or config.number("mamba_expand") * config.hidden_size
    head_size = config.get("mamba_d_head")
    heads = config.number("mamba_n_heads")
    return mamba2(
        int(inner),
        config.number("mamba_n_groups"),
        heads,
        int(head_size) if isinstance(head_size, int) else int(inner) // heads,
        config.number("mamba_d_state"),
        config.number("mamba_d_conv"),
        of,
    )


def _nemotron(config: Config, of: StateDtypes) -> int:
    heads, head_size = config.number("mamba_num_heads"), config.number("mamba_head_dim")
    return mamba2(
        heads * head_size,
        config.number("n_groups"),
        heads,
        head_size,
        config.number("ssm_state_size"),
        config.number("conv_kernel"),
        of,
    )


def _zamba2(config: Config, of: StateDtypes) -> int:
    inner = config.number("mamba_expand") * config.hidden_size
    heads = config.number("n_mamba_heads")
    return mamba2(
        inner,
        config.number("mamba_ngroups"),
        heads,
        int(config.get("mamba_headdim") or inner // heads),
        config.number("mamba_d_state"),
        config.number("mamba_d_conv"),
        of,
    )


def _short_conv(config: Config, of: StateDtypes) -> int:
    width = int(config.get("conv_dim") or config.hidden_size)
    return width // of.tensor * (config.number("conv_L_cache") - 1) * of.conv


def _kimi_delta(config: Config, of: StateDtypes) -> int:
    linear = config.text.get("linear_attn_config") or {}
    heads, size = int(linear["num_heads"]), int(linear["head_dim"])
    kernel = int(linear.get("short_conv_kernel_size", 4))
    conv = 3 * heads * size // of.tensor * (kernel - 1) * of.conv
    return conv + heads // of.tensor * size * size * 4


def _lightning(config: Config, of: StateDtypes) -> int:
    """MiniMax and Ling-linear: one (head, head) matrix of each head."""
    return config.heads // of.tensor * config.head_size * config.head_size * of.recurrent


STATES: dict[str, Callable[[Config, StateDtypes], int]] = {
    "mamba": _plain_mamba,
    "falcon_mamba": _plain_mamba,
    "mamba2": _plain_mamba2,
    "jamba": _jamba,
    "granitemoehybrid": _granite,
    "falcon_h1": _granite,
    "bamba": _granite,
    "nemotron_h": _nemotron,
    "nemotron_h_puzzle": _nemotron,
    "zamba2": _zamba2,
    "lfm2": _short_conv,
    "lfm2_moe": _short_conv,
    "qwen3_next": gated_delta_net,
    "qwen3_5": gated_delta_net,
    "qwen3_5_text": gated_delta_net,
    "qwen3_5_moe": gated_delta_net,
    "qwen3_5_moe_text": gated_delta_net,
    "olmo_hybrid": gated_delta_net,
    "kimi_linear": _kimi_delta,
    "minimax": _lightning,
    "minimax_text_01": _lightning,
    "minimax_m1": _lightning,
    "bailing_moe_linear": _lightning,
}


# `num_prefill_checkpoint_blocks`: Mamba-2 keeps one more state of each request for prefix caching than others do.
CHECKPOINTED = frozenset((_plain_mamba2, _granite, _nemotron, _zamba2))


def state_copies(model_type: str) -> int:
    """States of one request with prefix caching on (`mamba_cache_mode` align)."""
    return 3 if STATES.get(model_type) in CHECKPOINTED else 2


def state_bytes(config: Config, tensor: int, width: int, conv: str, recurrent: str) -> int | None:
    """Bytes of one recurrent layer's state on one rank; None for a model type that is not known here.

    `width`: bytes of the model's dtype. `conv` and `recurrent`: --mamba-cache-dtype, --mamba-ssm-cache-dtype. Raises Unsaid.
    """
    known = STATES.get(config.model_type)
    if known is None:
        return None
    conv_width = WIDTH.get(conv, width)
    said = recurrent
    if said == "auto" and config.model_type.startswith("nemotron_h"):
        said = str(config.top.get("mamba_ssm_cache_dtype") or "float32")
    elif said == "auto":
        said = str(config.text.get("mamba_ssm_dtype") or "auto")
    return known(config, StateDtypes(conv_width, WIDTH.get(said, conv_width), tensor))
