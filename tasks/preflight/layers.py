"""Which cache each layer of a model keeps: all tokens, a window, a chunk, a latent vector, a state, or none. Pure.

Patterns a config.json leaves out are those of the configuration classes of transformers 5.19.0 (`__post_init__` in
transformers/models/*/configuration_*.py); what vLLM makes of them is in vllm/model_executor/models/*.py of 0.32.0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tasks.preflight.config import Config, defaults_of
from tasks.preflight.states import STATES, state_copies

Kind = Literal["full", "sliding", "chunked", "latent", "state", "cross"]
# Model types whose attention sees the whole input at once: nothing is cached between steps.
ENCODERS = frozenset(
    [
        "bert",
        "roberta",
        "xlm-roberta",
        "xlm-roberta-xl",
        "modernbert",
        "nomic_bert",
        "gte",
        "new",
        "distilbert",
        "camembert",
        "mpnet",
        "electra",
        "albert",
        "deberta-v2",
        "ernie",
        "bert-hash",
        "jina_bert",
        "clip",
        "siglip",
    ]
)
NAMES: dict[str, str] = {
    "full_attention": "full",
    "attention": "full",
    "sliding_attention": "sliding",
    "sliding_window": "sliding",
    "chunked_attention": "chunked",
    "linear_attention": "state",
    "mamba": "state",
    "mamba2": "state",
    "conv": "state",
    "short_conv": "state",
    "hybrid": "both",
    "mlp": "none",
    "moe": "none",
}
NEMOTRON = {"M": "state", "*": "full", "-": "none", "E": "none"}


@dataclass(frozen=True)
class Cache:
    """What one layer keeps for a request on one rank.

    `size`: bytes a token; of a state, its bytes; of a cross-attention layer, bytes a token of the encoder.
    `reach`: tokens of the window, the chunk or the encoder's input; of a state, copies kept for prefix caching.
    """

    kind: Kind
    size: int
    reach: int = 0


@dataclass(frozen=True)
class Widths:
    """Bytes an element: of keys and values, and of a state as `states.state_bytes` gives it (None: not known)."""

    cache: float
    state: int | None
    tensor: int
    latent_packed: int | None = None


def _every(count: int) -> Callable[[Config], list[str]]:
    """All layers slide but each `count`th, which is full."""

    def kinds(config: Config) -> list[str]:
        pattern = int(config.text.get("sliding_window_pattern") or count)
        return ["full" if (i + 1) % pattern == 0 else "sliding" for i in range(config.layers)]

    return kinds


def _interval(config: Config) -> list[str]:
    interval = int(config.text.get("full_attention_interval") or 4)
    return ["full" if (i + 1) % interval == 0 else "state" for i in range(config.layers)]


def _gemma4(config: Config) -> list[str]:
    kinds = _every(6)(config)
    return [*kinds[:-1], "full"]


def _exaone4(config: Config) -> list[str]:
    pattern = config.text.get("sliding_window_pattern", 4)
    if not config.window or not pattern:
        return ["full"] * config.layers
    if isinstance(pattern, str):
        return ["sliding" if pattern[i % len(pattern)] == "L" else "full" for i in range(config.layers)]
    return ["full" if (i + 1) % int(pattern) == 0 else "sliding" for i in range(config.layers)]


def _llama4(config: Config) -> list[str]:
    chunk = config.text.get("attention_chunk_size", config.get("attention_chunk_size"))
    given = config.text.get("no_rope_layers")
    interval = int(config.get("no_rope_layer_interval") or 4)
    rope = given or [int((i + 1) % interval != 0) for i in range(config.layers)]
    return ["chunked" if used and chunk else "full" for used in rope]


def _jamba(config: Config) -> list[str]:
    period, offset = config.number("attn_layer_period"), config.number("attn_layer_offset")
    return ["full" if i % period == offset else "state" for i in range(config.layers)]


def _bamba(config: Config) -> list[str]:
    full = set(config.text.get("attn_layer_indices") or ())
    return ["full" if i in full else "state" for i in range(config.layers)]


def _nemotron(config: Config) -> list[str]:
    pattern = config.text.get("hybrid_override_pattern")
    if isinstance(pattern, str):
        return [NEMOTRON.get(letter, "unknown") for letter in pattern]
    return ["full"] * config.layers


def _kimi(config: Config) -> list[str]:
    linear = config.text.get("linear_attn_config")
    if not linear:
        return ["full"] * config.layers
    full = set(linear.get("full_attn_layers") or ())
    return ["full" if i + 1 in full else "state" for i in range(config.layers)]


def _mimo(config: Config) -> list[str]:
    pattern = config.text.get("hybrid_layer_pattern") or [0] * config.layers
    return ["sliding" if one == 1 else "full" for one in pattern]


def _nas(config: Config) -> list[str]:
    kinds = []
    for block in config.text.get("block_configs") or ():
        attention = block.get("attention") or {}
        skipped = attention.get("no_op") or attention.get("replace_with_linear")
        kinds.append("none" if skipped else "full")
    return kinds or ["full"] * config.layers


def _minimax(config: Config) -> list[str]:
    given = config.text.get("attn_type_list") or config.top.get("attn_type_list")
    if given:
        return ["full" if one == 1 else "state" for one in given]
    return _interval(config)


def _zamba2(config: Config) -> list[str]:
    return ["both" if i in _zamba2_hybrid(config) else "state" for i in range(config.layers)]


def _zamba2_hybrid(config: Config) -> Sequence[int]:
    return config.text.get("hybrid_layer_ids") or ()


def _lfm2(config: Config) -> list[str]:
    full = config.text.get("full_attn_idxs")
    return ["full" if full is None or i in full else "state" for i in range(config.layers)]


def _step3p5(config: Config) -> list[str]:
    return ["sliding" if i % 2 == 0 and config.window else "full" for i in range(config.layers)]


def _all(kind: str) -> Callable[[Config], list[str]]:
    return lambda config: [kind] * config.layers


# Where config.json has no `layer_types`.
PATTERNS: dict[str, Callable[[Config], list[str]]] = {
    "gemma2": _every(2),
    "gemma3_text": _every(6),
    "gemma3": _every(6),
    "gemma3n_text": _every(5),
    "gemma4_text": _gemma4,
    "gemma4_unified_text": _gemma4,
    "cohere2": _every(4),
    "olmo3": _every(4),
    "afmoe": lambda config: _every(int(config.get("global_attn_every_n_layers") or 4))(config),
    "exaone4": _exaone4,
    "llama4_text": _llama4,
    "qwen3_next": _interval,
    "qwen3_5": _interval,
    "qwen3_5_text": _interval,
    "qwen3_5_moe": _interval,
    "qwen3_5_moe_text": _interval,
    "olmo_hybrid": _interval,
    "jamba": _jamba,
    "bamba": _bamba,
    "nemotron_h": _nemotron,
    "nemotron_h_puzzle": _nemotron,
    "granitemoehybrid": _all("state"),
    "falcon_h1": _all("both"),
    "zamba2": _zamba2,
    "lfm2": _lfm2,
    "lfm2_moe": _lfm2,
    "kimi_linear": _kimi,
    "mimo_v2_flash": _mimo,
    "mimo_v2": _mimo,
    "nemotron-nas": _nas,
    "minimax": _minimax,
    "minimax_text_01": _minimax,
    "minimax_m1": _minimax,
    "step3p5": _step3p5,
    "mamba": _all("state"),
    "mamba2": _all("state"),
    "falcon_mamba": _all("state"),
}


def kinds_of(config: Config) -> list[str]:
    """One word a layer: full, sliding, chunked, state, both (attention and state), none, or unknown. Raises Unsaid."""
    if config.model_type in ENCODERS or config.text.get("is_causal") is False:
        return ["none"] * config.layers
    if config.model_type == "gpt_oss":  # vLLM goes by the layer's number, whatever layer_types says
        return ["sliding" if i % 2 == 0 else "full" for i in range(config.layers)]
    special = config.model_type in ("nemotron-nas", "mimo_v2_flash", "mimo_v2", "kimi_linear", "llama4_text")
    given = config.text.get("layer_types") or config.text.get("layers_block_type")
    if isinstance(given, list) and given and not special and defaults_of(config.model_type) is not None:
        kinds = [NAMES.get(str(one), "unknown") for one in given]
        if config.model_type == "falcon_h1":
            return ["both"] * config.layers
        return kinds
    if pattern := PATTERNS.get(config.model_type):
        return pattern(config)
    slides = config.window and defaults_of(config.model_type) is not None
    return ["sliding" if slides else "full"] * config.layers


def layer_caches(config: Config, widths: Widths, *, sliding: bool = True) -> list[tuple[Cache, ...]]:
    """The caches of every layer in order, on one tensor-parallel rank. `sliding`: not --disable-sliding-window.

    A layer whose kind, or whose state, is not known here counts as one that keeps all tokens. Raises Unsaid.
    """
    kinds = kinds_of(config)
    shared = int(config.get("num_kv_shared_layers") or 0) if config.model_type.startswith("gemma") else 0
    layers: list[tuple[Cache, ...]] = []
    for number, kind in enumerate(kinds):
        if shared and number >= len(kinds) - shared:
            layers.append(())  # it reads the cache of an earlier layer
            continue
        layers.append(_caches(config, kind, number, widths, sliding=sliding))
    if config.model_type == "whisper":
        return [(*layer, _cross(config, widths)) for layer in layers]
    return layers


def _caches(config: Config, kind: str, number: int, widths: Widths, *, sliding: bool) -> tuple[Cache, ...]:
    if kind == "none":
        return ()
    state: tuple[Cache, ...] = ()
    if kind in ("state", "both") and widths.state is not None:
        state = (Cache("state", widths.state, state_copies(config.model_type)),)
    if kind == "state" and state:
        return state
    if kind == "sliding" and (not sliding or not config.window):
        kind = "full"
    return (_attention(config, kind, number, widths), *_indexer(config), *(state if kind == "both" else ()))


def _attention(config: Config, kind: str, number: int, widths: Widths) -> Cache:
    if config.is_latent:
        packed = widths.latent_packed
        return Cache("latent", packed if packed else int(config.latent_size * widths.cache))
    heads, key, value = _heads(config, kind, number)
    size = int(max(1, heads // widths.tensor) * (key + value) * widths.cache)
    if kind == "sliding":
        return Cache("sliding", size, config.window or 0)
    if kind == "chunked":
        return Cache("chunked", size, int(config.get("attention_chunk_size") or 8192))
    return Cache("full", size)


def _heads(config: Config, kind: str, number: int) -> tuple[int, int, int]:
    """(key-value heads, elements of a key, elements of a value) of one layer."""
    heads, size = config.kv_heads, config.head_size
    if blocks := config.text.get("block_configs"):  # Nemotron-NAS: each layer has a grouping of its own
        grouping = (blocks[number].get("attention") or {}).get("n_heads_in_group")
        return config.heads // int(grouping) if grouping else heads, size, size
    if config.model_type.startswith("mimo_v2"):
        prefix = "swa_" if kind == "sliding" else ""
        text: Any = config.text
        key = int(text.get(f"{prefix}head_dim") or size)
        return (
            int(text.get(f"{prefix}num_key_value_heads") or heads),
            key,
            int(text.get(f"{prefix}v_head_dim") or key),
        )
    if config.model_type.startswith("gemma4") and kind == "full":
        wide = int(config.get("global_head_dim") or size)
        return int(config.get("num_global_key_value_heads") or heads), wide, wide
    return heads, size, size


def _indexer(config: Config) -> tuple[Cache, ...]:
    """Sparse attention's index keys: FP8 and a four-byte scale for each 128 (`DeepseekV32IndexerCache`)."""
    width = config.text.get("index_head_dim")
    if not config.is_latent or not isinstance(width, int) or not config.text.get("index_topk"):
        return ()
    return (Cache("latent", width + width // 128 * 4),)


def _cross(config: Config, widths: Widths) -> Cache:
    """Attention to the encoder's output: as many tokens as the encoder gives."""
    heads, key, value = _heads(config, "full", 0)
    size = int(max(1, heads // widths.tensor) * (key + value) * widths.cache)
    return Cache("cross", size, int(config.get("max_source_positions") or 1500))


def unknown_layers(config: Config) -> bool:
    """Whether a layer's kind, or the state it keeps, is not known here."""
    kinds = kinds_of(config)
    stateful = any(kind in ("state", "both") for kind in kinds)
    return "unknown" in kinds or (stateful and config.model_type not in STATES)
