"""What a start takes on a GPU beside weights and KV cache: activations, CUDA graphs, libraries. Estimates. Pure.

vLLM measures them with a run of `max_num_batched_tokens` tokens (`determine_available_memory` in vllm/v1/worker/gpu_worker.py,
`profile_run` and `_dummy_sampler_run` in gpu_model_runner.py beside it) and takes them from the KV cache. What that run holds at its peak
is added up here; the constants are rounded from vLLM's own start-up logs.
"""

from __future__ import annotations

from tasks.preflight.arguments import Settings
from tasks.preflight.config import Config

MIB = 2**20
LIBRARIES = 256 * MIB  # cuBLAS and attention workspaces
NCCL = 768 * MIB  # buffers of the collectives, where several GPUs work together
GRAPHS = 512 * MIB  # of a model of 32 layers of 4,096
ENCODER = 512 * MIB  # one largest image or sound, in the encoder
SAMPLER = 16  # bytes a logit: float32 logits, sorted logits, their places, probabilities


def profile_run(config: Config, settings: Settings, width: float, batch: int, sequences: int) -> int:
    """Bytes at the peak of one step of `batch` tokens for `sequences` requests, on one rank. Raises Unsaid."""
    residual = 2 * batch * config.hidden_size * width
    attention = batch * _attention(config, settings) * width
    # a pooling model samples nothing
    logits = 0 if settings.pooling else sequences * config.vocabulary * (width + SAMPLER)
    return int(residual + max(attention, _feed_forward(config, settings, width, batch), logits))


def _attention(config: Config, settings: Settings) -> float:
    """Elements a token of queries, keys, values and the output, on one rank; of a layer without attention, its inner width."""
    if not config.get("num_attention_heads"):
        return 4 * config.hidden_size / settings.tensor
    size = (
        config.number("qk_nope_head_dim") + config.number("qk_rope_head_dim")
        if config.is_latent
        else config.head_size
    )
    queries = config.heads / settings.tensor
    return 2 * (queries + max(1, config.kv_heads / settings.tensor)) * size


def _feed_forward(config: Config, settings: Settings, width: float, batch: int) -> float:
    inner = config.size("intermediate_size", config.size("ffn_dim", 4 * config.hidden_size))
    dense = 3 * batch * inner / settings.tensor * width
    if not config.experts:
        return dense
    chosen = config.size("num_experts_per_tok", config.size("num_experts_per_token", 2))
    narrow = config.size("moe_intermediate_size", inner) / settings.tensor
    return batch * chosen * (3 * narrow + config.hidden_size) * width


def start_bytes(
    config: Config, settings: Settings, width: float, batch: int, sequences: int
) -> tuple[tuple[str, int], ...]:
    """(what, bytes) of everything beside weights and KV cache on one GPU. Raises Unsaid."""
    found = [
        (f"activations of {batch:,} tokens", profile_run(config, settings, width, batch, sequences)),
        ("workspaces of CUDA libraries", LIBRARIES),
    ]
    if settings.gpus > 1:
        found.append(("NCCL", NCCL))
    if not settings.eager:
        scale = (config.layers / settings.pipeline * config.hidden_size / (32 * 4096)) ** 0.5
        found.append(("CUDA graphs", int(GRAPHS * max(0.25, scale))))
    if config.has_encoder and not settings.text_only:
        cached = int(batch * config.hidden_size * width)
        found.append(("vision or audio encoder", ENCODER + cached))
    return tuple(found)
