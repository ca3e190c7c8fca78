"""Read a config.json as vLLM does: overrides applied, the text model found, left-out values filled in. Pure.

Defaults and `attribute_map` of each model type are read from transformers' and vLLM's own configuration classes
(engine_tables/config_defaults.json, made by tools/config_defaults.py). What each figure is read from follows
`ModelArchConfigConvertorBase` in vLLM 0.32.0, vllm/transformers_utils/model_arch_config_convertor.py.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

TABLES = Path(__file__).with_name("engine_tables")
# The part of a multimodal config.json that describes the language model: `get_text_config` of transformers,
# `_CONFIG_ATTRS_MAPPING` of vLLM, and configs that nest it once more (Qwen-Omni).
TEXT_KEYS = ("text_config", "llm_config", "language_config", "thinker_config")
ENCODER_KEYS = ("vision_config", "audio_config", "vision_tower_config", "encoder_config", "vit_config")
KV_HEAD_KEYS = (
    "n_head_kv",
    "num_kv_heads",
    "num_key_value_heads",
    "multi_query_group_num",
    "num_attention_groups",
)
POSITION_KEYS = (
    "max_position_embeddings",
    "n_positions",
    "max_seq_len",
    "seq_length",
    "model_max_length",
    "max_target_positions",
    "max_sequence_length",
    "max_seq_length",
    "seq_len",
)
# `is_deepseek_mla`: model types whose vLLM code caches one latent vector a token.
LATENT_TYPES = frozenset(
    [
        "axk1",
        "deepseek_v2",
        "deepseek_v3",
        "deepseek_v32",
        "dots3_note",
        "deepseek_mtp",
        "glm5_next",
        "glm5_next_text",
        "glm_moe_dsa",
        "glm4_moe_lite",
        "kimi_k2",
        "kimi_linear",
        "longcat_flash",
        "pangu_ultra_moe",
        "bailing_hybrid",
        "hy_v4",
    ]
)
# Model types whose sliding_window counts only with use_sliding_window.
OPT_IN_WINDOWS = frozenset(
    [
        "qwen2",
        "qwen3",
        "qwen2_moe",
        "qwen3_moe",
        "qwen2_vl",
        "qwen2_vl_text",
        "qwen2_5_vl",
        "qwen2_5_vl_text",
        "smollm3",
    ]
)
EXPERT_KEYS = ("num_experts", "moe_num_experts", "n_routed_experts", "num_local_experts")


@dataclass(frozen=True)
class TypeDefaults:
    """One model type: values its configuration class fills in, and names it keeps others under."""

    defaults: Mapping[str, Any]
    names: Mapping[str, str]
    text: str | None


@cache
def _table() -> dict[str, Any]:
    document: dict[str, Any] = json.loads((TABLES / "config_defaults.json").read_text("utf-8"))
    return document


@cache
def defaults_of(model_type: str) -> TypeDefaults | None:
    """None for a model type neither transformers nor vLLM knows: its code comes with the repo, or nobody has it."""
    one = _table()["types"].get(model_type)
    if one is None:
        return None
    return TypeDefaults(one.get("defaults", {}), one.get("map", {}), one.get("text"))


@cache
def transformers_architectures() -> frozenset[str]:
    """Model classes of transformers that vLLM may run by its Transformers backend."""
    return frozenset(_table()["architectures"])


class Unsaid(ValueError):
    """A figure that neither config.json nor its model type's defaults give."""


@dataclass(frozen=True)
class Config:
    """`top`: the whole config.json; `text`: the part of the language model."""

    top: Mapping[str, Any]
    text: Mapping[str, Any]
    model_type: str

    def get(self, name: str, default: Any = None) -> Any:
        """A value of the language model by its standard name; the model type's default where it is left out."""
        known = defaults_of(self.model_type)
        kept_as = known.names.get(name, name) if known else name
        for key in (kept_as, name):
            if self.text.get(key) is not None:
                return self.text[key]
        if known:
            for key in (kept_as, name):
                if known.defaults.get(key) is not None and not (key in self.text and _null_matters(key)):
                    return known.defaults[key]
        return default

    def number(self, name: str) -> int:
        """A whole number. Raises Unsaid."""
        value = self.get(name)
        if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
            raise Unsaid(name)
        return int(value)

    def size(self, name: str, default: int | None = None) -> int:
        """A whole number above zero; `default` where it is left out, the largest where each layer has its own. Raises Unsaid."""
        value = self.get(name, default)
        if isinstance(value, list) and value and all(type(each) is int for each in value):
            value = max(value)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 1 <= value < float("inf"):
            raise Unsaid(name)
        return int(value)

    def filled_in(self, *names: str) -> dict[str, Any]:
        """Those of `names` that config.json leaves out, with the value the model type fills in."""
        known = defaults_of(self.model_type)
        found = {}
        for name in names:
            kept_as = known.names.get(name, name) if known else name
            said = self.text.get(kept_as) is not None or self.text.get(name) is not None
            if not said and (value := self.get(name)) is not None:
                found[name] = value
        return found

    @property
    def architecture(self) -> str:
        """The first of `architectures`; "" where config.json names none."""
        names = self.top.get("architectures") or self.text.get("architectures") or ()
        return str(names[0]) if names and isinstance(names, list | tuple) else ""

    @property
    def has_encoder(self) -> bool:
        """Whether a vision or audio encoder comes with the language model."""
        return any(isinstance(self.top.get(key), Mapping) for key in ENCODER_KEYS)

    @property
    def layers(self) -> int:
        if self.model_type == "longcat_flash":
            return self.number("num_layers")
        if self.model_type == "whisper":
            return self.number("decoder_layers")
        types = self.text.get("layers_block_type") or self.text.get("hybrid_override_pattern")
        if self.model_type == "nemotron_h" and types:
            return len(types)
        return self.size("num_hidden_layers")

    @property
    def heads(self) -> int:
        if self.model_type == "whisper":
            return self.number("decoder_attention_heads")
        return self.size("num_attention_heads")

    @property
    def hidden_size(self) -> int:
        return self.size("d_model" if self.model_type == "whisper" else "hidden_size")

    @property
    def vocabulary(self) -> int:
        return self.size("vocab_size")

    @property
    def kv_heads(self) -> int:
        """Key-value heads of the whole model; as many as attention heads where nothing says otherwise."""
        if self.model_type in ("falcon", "RefinedWeb", "RefinedWebModel", "gpt_bigcode"):
            new = bool(self.get("new_decoder_architecture"))
            if not new and self.get("multi_query", False):
                return 1
        if self.model_type == "dbrx":
            return int((self.text.get("attn_config") or {}).get("kv_n_heads") or self.heads)
        if blocks := self.text.get("block_configs"):
            return _nas_heads(blocks, self.heads)
        for name in KV_HEAD_KEYS:
            value = self.get(name)
            if isinstance(value, int) and value:
                return value
        return self.heads

    @property
    def head_size(self) -> int:
        """Bytes of a head are this times the dtype's; of an MLA model see `latent_size`."""
        if self.model_type == "zamba2":
            return self.number("attention_head_dim")
        for name in ("head_dim", "hidden_size_per_head", "kv_channels"):
            value = self.get(name)
            if isinstance(value, int) and value > 0:
                return value
        return self.hidden_size // self.heads

    @property
    def is_latent(self) -> bool:
        """Whether vLLM caches a latent vector (multi-head latent attention) instead of keys and values."""
        causal = self.text.get("is_causal", True)
        return self.model_type in LATENT_TYPES and bool(self.get("kv_lora_rank")) and bool(causal)

    @property
    def latent_size(self) -> int:
        """Elements of the latent vector of one token: the same on every tensor-parallel rank."""
        return self.number("kv_lora_rank") + self.number("qk_rope_head_dim")

    @property
    def experts(self) -> int:
        """0 for a dense model."""
        for name in EXPERT_KEYS:
            value = self.get(name)
            value = value[0] if isinstance(value, list) and value else value
            if isinstance(value, int) and value:
                return value
        return 0

    @property
    def window(self) -> int | None:
        """The sliding window of the layers that slide, in tokens; None where none does."""
        if self.model_type in OPT_IN_WINDOWS and not self.get("use_sliding_window", False):
            return None
        value = self.get("sliding_window")
        if value is None:
            value = self.text.get("sliding_window_size") or self.text.get("window_size")
        value = int(value) if isinstance(value, int | float) and not isinstance(value, bool) else 0
        # `_WINDOW_OFFSET` and the like: these classes count the token itself as well.
        return value + 1 if value and self.model_type in ("cohere2",) else value or None

    @property
    def positions(self) -> tuple[float, str]:
        """(tokens, key): the smallest length config.json gives, before rope scaling; (inf, "") where none."""
        longest, said = float("inf"), ""
        for name in POSITION_KEYS:
            value = self.get(name)
            if isinstance(value, int | float) and not isinstance(value, bool) and value < longest:
                longest, said = value, name
        if value := self.text.get("model_max_length"):
            longest, said = value, "model_max_length"
        return longest, said


def _null_matters(name: str) -> bool:
    """Keys for which `null` in config.json means none, not "left out"."""
    return name in (
        "sliding_window",
        "attention_chunk_size",
        "num_key_value_heads",
        "head_dim",
        "kv_lora_rank",
    )


def _nas_heads(blocks: Any, heads: int) -> int:
    """Nemotron-NAS: heads of the first layer that has attention (`NemotronNasModelArchConfigConvertor`)."""
    for block in blocks:
        attention = block.get("attention") if isinstance(block, Mapping) else None
        if (
            isinstance(attention, Mapping)
            and not attention.get("no_op")
            and attention.get("n_heads_in_group")
        ):
            return heads // int(attention["n_heads_in_group"])
    return heads


def read_config(document: Mapping[str, Any], overrides: Mapping[str, Any] | None = None) -> Config:
    """config.json with --hf-overrides laid over it, as `_apply_dict_overrides` in vllm/config/model.py does."""
    top: dict[str, Any] = dict(document)
    for key, value in (overrides or {}).items():
        nested = key in (*TEXT_KEYS, *ENCODER_KEYS) and isinstance(value, Mapping)
        top[key] = _merged(top.get(key) or {}, value) if nested else value
    text: Mapping[str, Any] = top
    model_type = str(top.get("model_type") or "")
    for _ in range(3):
        inner = next((text[key] for key in TEXT_KEYS if isinstance(text.get(key), Mapping)), None)
        if inner is None:
            break
        outer = defaults_of(model_type)
        model_type = str(inner.get("model_type") or (outer.text if outer else "") or "")
        text = inner
    return Config(top, text, model_type)


def _merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(under)
    for key, value in over.items():
        below = result.get(key)
        both = isinstance(value, Mapping) and isinstance(below, Mapping)
        result[key] = _merged(below, value) if both and below is not None else value
    return result
