"""Read what a `vllm serve` command line sets of memory, context and parallelism. Pure.

Defaults are those of vLLM 0.32.0: `get_batch_defaults` and `_set_default_max_num_seqs_and_batched_tokens_args` in
vllm/engine/arg_utils.py, `max_concurrent_batches` in vllm/config/vllm.py, `human_readable_int` in vllm/utils/argparse_utils.py.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

GIB = 2**30
_DECIMAL = {"k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_BINARY = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def whole_number(text: str) -> int | None:
    """A whole number, also as 32k (32,000) or 32K (32,768); None where it is neither, as for `auto`."""
    if re.fullmatch(r"[+-]?\d+(_\d+)*", text):
        return int(text)
    if found := re.fullmatch(r"(\d+(?:\.\d+)?)([kmgt])", text):
        return int(float(found[1]) * _DECIMAL[found[2]])
    if found := re.fullmatch(r"(\d+)([KMGT])", text):
        return int(found[1]) * _BINARY[found[2]]
    return None


@dataclass(frozen=True)
class CommandLine:
    """The words after `vllm serve`. Where a flag is given twice the last one holds, as with argparse."""

    words: tuple[str, ...]

    def text(self, *spellings: str) -> str | None:
        """The value of a flag, given as --flag=value or as --flag value."""
        value = None
        for word, following in zip(self.words, [*self.words[1:], ""], strict=True):
            name, equals, joined = word.partition("=")
            if _flag_name(name) in spellings:
                value = joined if equals else following
        return value

    def number(self, *spellings: str) -> int | None:
        value = self.text(*spellings)
        return None if value is None else whole_number(value)

    def decimal(self, *spellings: str) -> float | None:
        try:
            return float(self.text(*spellings) or "")
        except ValueError:
            return None

    def switch(self, *spellings: str) -> bool | None:
        """True for --flag, False for --no-flag, None where neither stands there."""
        value = None
        for word in self.words:
            name = _flag_name(word.partition("=")[0])
            if name in spellings:
                value = True
            elif name.startswith("--no-") and name.replace("--no-", "--", 1) in spellings:
                value = False
        return value

    def document(self, *spellings: str) -> dict[str, Any]:
        """A JSON flag: --flag='{...}' with --flag.key=value laid over it. Text that is no JSON counts as nothing."""
        found: dict[str, Any] = {}
        text = self.text(*spellings)
        try:
            given = json.loads(text or "{}")
        except ValueError:
            given = {}
        if isinstance(given, dict):
            found |= given
        for word, following in zip(self.words, [*self.words[1:], ""], strict=True):
            name, equals, joined = word.partition("=")
            flag, dot, path = name.partition(".")
            if dot and _flag_name(flag) in spellings:
                _set(found, path.split("."), joined if equals else following)
        return found


def _flag_name(word: str) -> str:
    return word.replace("_", "-") if word.startswith("--") else word


def _set(target: dict[str, Any], path: Sequence[str], value: str) -> None:
    for key in path[:-1]:
        inner = target.get(key)
        target[key] = inner = dict(inner) if isinstance(inner, dict) else {}
        target = inner
    try:
        target[path[-1]] = json.loads(value)
    except ValueError:
        target[path[-1]] = value


@dataclass(frozen=True)
class Settings:
    """What of a command line memory, context and ranks depend on. None: vLLM's default."""

    max_model_len: int | None = None
    utilization: float = 0.92
    tensor: int = 1
    pipeline: int = 1
    data: int = 1
    expert_parallel: bool = False
    decode_context: int = 1
    dtype: str = "auto"
    quantization: str | None = None
    kv_cache_dtype: str = "auto"
    max_num_seqs: int | None = None
    max_num_batched_tokens: int | None = None
    throughput_mode: bool = False
    eager: bool = False
    sliding_window: bool = True
    hybrid_cache: bool = True
    async_scheduling: bool | None = None
    prefix_caching: bool = True
    state_dtype: str = "auto"
    conv_state_dtype: str = "auto"
    kv_cache_bytes: int | None = None
    offload_bytes: int = 0
    text_only: bool = False
    pooling: bool = False
    trust_remote_code: bool = False
    load_format: str = "auto"
    lora_rank: int = 0
    lora_slots: int = 0
    overrides: Mapping[str, Any] = field(default_factory=dict)
    speculative: Mapping[str, Any] = field(default_factory=dict)

    @property
    def ranks(self) -> int:
        """GPUs that share one copy of the model: tensor x pipeline."""
        return self.tensor * self.pipeline

    @property
    def gpus(self) -> int:
        return self.ranks * self.data

    @property
    def concurrent_batches(self) -> int:
        """Batches under way at a time: two with async scheduling, else one for each pipeline stage."""
        may_overlap = self.async_scheduling is not False and not self.pooling
        return 2 if self.pipeline <= 1 and may_overlap else self.pipeline

    def batched_tokens(self, gpu_memory: int, gpu_name: str) -> int:
        """`max_num_batched_tokens`: as given, else vLLM's default for a GPU of so many bytes."""
        if self.max_num_batched_tokens:
            return self.max_num_batched_tokens
        if gpu_memory >= 160 * GIB:
            default = 16_384
        elif gpu_memory >= 70 * GIB and "a100" not in gpu_name.lower():
            default = 8_192
        else:
            default = 2_048
        default *= 2 if self.throughput_mode else 1
        limit = (self.max_num_seqs or 256) * (self.max_model_len or default)
        return max(1, min(default, limit))

    def sequences(self, gpu_memory: int) -> int:
        """`max_num_seqs`: as given, else vLLM's default."""
        return self.max_num_seqs or (1_024 if gpu_memory >= 70 * GIB else 256)


def settings_of(arguments: Sequence[str]) -> Settings:
    """The settings of a command line; the first word is the model."""
    line = CommandLine(tuple(arguments))
    lora = bool(line.switch("--enable-lora"))
    return Settings(
        max_model_len=_limit(line.text("--max-model-len")),
        utilization=line.decimal("--gpu-memory-utilization") or Settings.utilization,
        tensor=line.number("--tensor-parallel-size", "-tp") or 1,
        pipeline=line.number("--pipeline-parallel-size", "-pp") or 1,
        data=line.number("--data-parallel-size", "-dp") or 1,
        expert_parallel=bool(line.switch("--enable-expert-parallel", "-ep")),
        decode_context=line.number("--decode-context-parallel-size", "-dcp") or 1,
        dtype=line.text("--dtype") or "auto",
        quantization=line.text("--quantization", "-q"),
        kv_cache_dtype=line.text("--kv-cache-dtype") or "auto",
        max_num_seqs=line.number("--max-num-seqs"),
        max_num_batched_tokens=line.number("--max-num-batched-tokens"),
        throughput_mode=line.text("--performance-mode") == "throughput",
        eager=bool(line.switch("--enforce-eager")),
        sliding_window=not line.switch("--disable-sliding-window"),
        hybrid_cache=not line.switch("--disable-hybrid-kv-cache-manager"),
        async_scheduling=line.switch("--async-scheduling"),
        prefix_caching=line.switch("--enable-prefix-caching") is not False,
        state_dtype=line.text("--mamba-ssm-cache-dtype") or "auto",
        conv_state_dtype=line.text("--mamba-cache-dtype") or "auto",
        kv_cache_bytes=line.number("--kv-cache-memory-bytes", "--kv-cache-memory"),
        offload_bytes=int((line.decimal("--cpu-offload-gb") or 0) * GIB),
        text_only=bool(line.switch("--language-model-only")),
        pooling=line.text("--runner") == "pooling" or line.text("--task") in ("embed", "score", "reward"),
        trust_remote_code=bool(line.switch("--trust-remote-code")),
        load_format=line.text("--load-format") or "auto",
        lora_rank=(line.number("--max-lora-rank") or 16) if lora else 0,
        lora_slots=(line.number("--max-loras") or 1) if lora else 0,
        overrides=line.document("--hf-overrides"),
        speculative=line.document("--speculative-config", "-sc"),
    )


def _limit(text: str | None) -> int | None:
    """--max-model-len: None where vLLM is to find it (not given, `auto`, -1)."""
    number = whole_number(text) if text else None
    return number if number and number > 0 else None
