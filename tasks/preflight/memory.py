"""Do the weights and one longest request fit a GPU? Pure arithmetic on config.json, headers and the command line.

vLLM takes `gpu_memory_utilization` of what CUDA shows, loads the weights, measures a start-up run, and gives the rest to the KV
cache, in which one request of max_model_len must fit (`_check_enough_kv_cache_memory` in vLLM 0.32.0, vllm/v1/core/kv_cache_utils.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from tasks.preflight.activations import LIBRARIES, start_bytes
from tasks.preflight.arguments import Settings
from tasks.preflight.config import Config, defaults_of
from tasks.preflight.dtypes import cache_width, packed_latent, served_dtype
from tasks.preflight.gpus import Gpu
from tasks.preflight.kv_cache import Limits, Pool, bytes_per_token, pools
from tasks.preflight.layers import PATTERNS, Cache, Widths, kinds_of, layer_caches, unknown_layers
from tasks.preflight.quantization import Quantization, quantization_of
from tasks.preflight.states import WIDTH, state_bytes
from tasks.preflight.weights import ONLINE, Share, served_bytes, share
from tasks.records.quantities import human_bytes

MOST_TOKENS = 16 * 2**20
MXFP4 = ("mxfp4", "gpt_oss_mxfp4")
FILLED = (
    "num_key_value_heads",
    "head_dim",
    "num_attention_heads",
    "hidden_size",
    "num_hidden_layers",
    "vocab_size",
    "sliding_window",
)


@dataclass(frozen=True)
class Plan:
    """Bytes on the fullest GPU. `close`: bytes of `start` that may turn out smaller, as they are estimates."""

    gpu: Gpu
    settings: Settings
    config: Config
    dtype: str
    cache_dtype: str
    quantization: Quantization | None
    weights: Share
    start: tuple[tuple[str, int], ...]
    pool: Pool
    layers: tuple[tuple[Cache, ...], ...]
    kv_per_token: int
    wanted: int
    batch: int
    in_flight: int
    unknown: tuple[str, ...]

    @property
    def budget(self) -> int:
        return int(self.gpu.memory * self.settings.utilization)

    @property
    def start_total(self) -> int:
        return sum(size for _, size in self.start)

    @property
    def close(self) -> int:
        return (self.start_total - LIBRARIES) // 2

    @property
    def kv_cache(self) -> int:
        """Bytes left for the KV cache; as --kv-cache-memory-bytes says where that is given."""
        return self.settings.kv_cache_bytes or self.budget - self.weights.total - self.start_total

    @property
    def needed(self) -> int:
        """Bytes one request of `wanted` tokens takes."""
        return self.pool.needed(self.wanted)

    @property
    def longest(self) -> int:
        """The longest request the KV cache holds, in tokens."""
        return self.pool.longest(self.kv_cache, MOST_TOKENS) if self.kv_cache > 0 else 0

    @property
    def fits(self) -> bool:
        return self.kv_cache > 0 and self._holds(self.kv_cache)

    @property
    def may_fit(self) -> bool:
        """Whether it fits if the estimates of the start are twice too high."""
        left = self.kv_cache + self.close
        return left > 0 and self._holds(left)

    def _holds(self, available: int) -> bool:
        return not self.pool.groups or self.needed <= available - self.pool.block

    def __str__(self) -> str:
        parts = f"{human_bytes(self.weights.total)} weights + {human_bytes(self.start_total)} activations and graphs of {human_bytes(self.budget)} a GPU"
        if self.kv_cache <= 0:
            return f"{parts}; nothing is left for the KV cache"
        if not self.pool.groups:
            return f"{parts}; the model keeps no KV cache"
        return (
            f"{parts}; {human_bytes(self.kv_cache)} KV cache holds a request of {self.held}, "
            f"{self.wanted:,} tokens wanted ({human_bytes(self.needed)}, {self.kv_per_token:,} B a token)"
        )

    @property
    def held(self) -> str:
        longest = self.longest
        return "any length" if longest >= MOST_TOKENS else f"{longest:,} tokens"


def plan(
    config: Config,
    stored: Mapping[str, int],
    settings: Settings,
    gpu: Gpu,
    *,
    longest: int | None = None,
) -> Plan:
    """What one GPU holds. `stored`: bytes of the weights by safetensors dtype; `longest`: positions of the model, for
    a command line that leaves max_model_len to vLLM. Raises Unsaid for a size config.json does not say."""
    dtype = served_dtype(config, settings, gpu.capability, stored)
    width = WIDTH.get(dtype, 2)
    quantization = quantization_of(settings, config)
    kv_width, cache_dtype = cache_width(config, settings, dtype)
    state = state_bytes(config, settings.tensor, width, settings.conv_state_dtype, settings.state_dtype)
    widths = Widths(kv_width, state, settings.tensor, packed_latent(settings))
    layers = layer_caches(config, widths, sliding=settings.sliding_window)
    wanted = settings.max_model_len or longest or 8192
    asked = replace(settings, max_model_len=wanted)
    batch = asked.batched_tokens(gpu.memory, gpu.name)
    in_flight = batch * settings.concurrent_batches
    limits = Limits(batch, in_flight, settings.hybrid_cache, _caches_prefixes(config, settings))
    found = pools(layers, settings.pipeline, limits, latent=config.is_latent)
    return Plan(
        gpu=gpu,
        settings=settings,
        config=config,
        dtype=dtype,
        cache_dtype=cache_dtype,
        quantization=quantization,
        weights=weights_of(config, stored, settings, dtype),
        start=start_bytes(config, settings, width, batch, asked.sequences(gpu.memory)),
        pool=max(found, key=lambda pool: pool.needed(wanted)),
        layers=tuple(layers),
        kv_per_token=bytes_per_token(layers, settings.pipeline),
        wanted=wanted,
        batch=batch,
        in_flight=in_flight,
        unknown=unknown_parts(config),
    )


def weights_of(config: Config | None, stored: Mapping[str, int], settings: Settings, dtype: str) -> Share:
    """The weights of the fullest GPU."""
    quantization = quantization_of(settings, config) if config else None
    quantised = bool(quantization and quantization.stored)
    online = quantization.method if quantization and quantization.method in ONLINE else None
    whole = served_bytes(stored, dtype, quantised=quantised, online=online, config=config)
    in_mxfp4 = quantization and quantization.stored and quantization.method in MXFP4
    return share(whole, config, settings, WIDTH.get(dtype, 2), mxfp4=stored.get("U8", 0) if in_mxfp4 else 0)


def _caches_prefixes(config: Config, settings: Settings) -> bool:
    """Whether states are kept for prefix caching: not of a model that is all states (`attention_free`)."""
    only_states = all(kind == "state" for kind in kinds_of(config))
    return settings.prefix_caching and not only_states


def unknown_parts(config: Config) -> tuple[str, ...]:
    """What of the model this arithmetic does not know: it then counts more than vLLM may, never less."""
    found = []
    if unknown_layers(config):
        found.append(
            f"layers of {config.model_type or config.architecture} that are counted as keeping every token"
        )
    if config.text.get("compress_ratios"):
        found.append("a compressed KV cache, counted as a whole one")
    if config.model_type not in PATTERNS and defaults_of(config.model_type) is None:
        said = config.model_type or "no model_type"
        found.append(
            f"{said} is not a model type of transformers or vLLM: every layer is counted as keeping every token"
        )
    return tuple(found)
