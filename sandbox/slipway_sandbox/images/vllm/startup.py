"""Start an engine from the command line through the phases vLLM logs, or fail as vLLM would."""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from slipway_sandbox.faults import Fault
from slipway_sandbox.images.vllm import VERSION, logs
from slipway_sandbox.images.vllm.engine import Engine, Limits
from slipway_sandbox.images.vllm.faulting import EngineFaults
from slipway_sandbox.images.vllm.gpu import GpuFile
from slipway_sandbox.images.vllm.memory import MIB, Plan, gib, out_of_memory, plan_memory
from slipway_sandbox.images.vllm.metrics import EngineMetrics
from slipway_sandbox.images.vllm.model import (
    ModelConfig,
    ValidationError,
    allow_longer,
    find_model,
    read_config,
    read_weights,
)
from slipway_sandbox.images.vllm.streaming import SCHEME, Streamed, Streaming
from slipway_sandbox.images.vllm.text import Text
from slipway_sandbox.images.vllm.visible import gpus
from slipway_sandbox.settings import EngineTiming

DEFAULT_GPU_MEMORY_MIB: Final = 23028  # an A10G, as nvidia-smi shows it
SECRET_ARGUMENTS: Final = ("api_key", "hf_token")


class EngineCoreDied(Exception):
    """The engine process died; `__cause__` is the error it printed."""


@dataclass(frozen=True)
class Resolved:
    """What the API server process works out before the GPU is used."""

    folder: Path
    config: ModelConfig
    gpu_bytes: int
    streamed: Streamed | None = None  # where its weights are, if not in the folder


def gpu_memory(environment: Mapping[str, str]) -> int:
    return int(environment.get("SLIPWAY_SANDBOX_GPU_MEMORY_MIB", DEFAULT_GPU_MEMORY_MIB)) * MIB


def check_devices(args: argparse.Namespace, environment: Mapping[str, str]) -> None:
    """Raise as vLLM does in a container with no GPU or fewer than it should use."""
    devices = gpus(environment)
    if not devices or not gpu_memory(environment):
        raise RuntimeError(
            "Failed to infer device type, please set the environment variable `VLLM_LOGGING_LEVEL=DEBUG` to turn on "
            "verbose logging to help debug the issue."
        )
    world = args.tensor_parallel_size * args.pipeline_parallel_size
    if world > len(devices):
        raise ValidationError(
            f"World size ({world}) is larger than the number of available GPUs ({len(devices)}) in this node. If this "
            "is intentional and you are using:\n- ray, set '--distributed-executor-backend ray'."
        )


def check_port_variable(environment: Mapping[str, str]) -> None:
    """Raise ValueError if VLLM_PORT is a URL: Kubernetes sets it for a Service called `vllm`, and vLLM reads it."""
    port = environment.get("VLLM_PORT", "0")
    if "://" in port:
        raise ValueError(
            f"VLLM_PORT '{port}' appears to be a URI. This may be caused by a Kubernetes service discovery issue,check "
            "the warning in: https://docs.vllm.ai/en/latest/configuration/env_vars.html"
        )
    if not port.isdigit():
        raise ValueError(f"VLLM_PORT '{port}' must be a valid integer")


def resolve(args: argparse.Namespace, environment: Mapping[str, str]) -> Resolved:
    """Resolve model and flags. Raises ValueError, OSError or RuntimeError, which end the API server."""
    shown = {k: "***" if k in SECRET_ARGUMENTS else v for k, v in args.non_default.items()}
    logs.info("api_utils.py:327", f"vLLM server version {VERSION}, serving model {args.model}")
    logs.info("api_utils.py:286", f"non-default args: {shown}")
    check_devices(args, environment)
    streamed = Streamed(args.model) if args.model.startswith(SCHEME) else None
    if streamed and args.load_format not in ("auto", "runai_streamer"):
        raise ValidationError(
            "To load a model from object storage (S3/GCS/Azure), 'load_format' must be 'modelexpress', 'runai_streamer' or "
            f"'runai_streamer_sharded', but got '{args.load_format}'. Model: {args.model}"
        )
    folder = (
        streamed.pull_files()
        if streamed
        else find_model(args.model, args.revision, environment, args.download_dir)
    )
    config = read_config(
        folder,
        args.model,
        dtype=args.dtype,
        max_model_len=args.max_model_len,
        allow_longer=allow_longer(environment),
        runner=args.runner or "auto",
    )
    logs.info("model.py:733", f"Resolved architecture: {config.architecture}")
    logs.info("model.py:2152", f"Using max model len {config.max_model_len}")
    if config.kv_heads % args.tensor_parallel_size and args.tensor_parallel_size % config.kv_heads:
        raise ValidationError(
            f"Total number of attention heads ({config.kv_heads}) must be divisible by tensor parallel size "
            f"({args.tensor_parallel_size})."
        )
    check_port_variable(environment)
    return Resolved(folder, config, gpu_memory(environment), streamed)


async def start_engine(
    args: argparse.Namespace,
    resolved: Resolved,
    timing: EngineTiming,
    faults: EngineFaults,
    gpu: GpuFile | None,
) -> tuple[Engine, Plan]:
    """Load, profile and compile. Raises EngineCoreDied from the cause."""
    try:
        return await _start_engine(args, resolved, timing, faults, gpu)
    except (OSError, ValueError, RuntimeError, KeyError, ArithmeticError) as error:
        raise EngineCoreDied from error
    except Exception as error:
        if type(error).__name__ == "SafetensorError":  # made in Rust, with no importable base but Exception
            raise EngineCoreDied from error
        raise


async def _start_engine(
    args: argparse.Namespace,
    resolved: Resolved,
    timing: EngineTiming,
    faults: EngineFaults,
    gpu: GpuFile | None,
) -> tuple[Engine, Plan]:
    config = resolved.config
    text = Text(
        Path(args.tokenizer) if args.tokenizer else resolved.folder,
        args.model,
        config.eos_token_ids,
        args.chat_template,
    )
    logs.info(
        "core.py:134",
        f"Initializing a V1 LLM engine (v{VERSION}) with config: model='{args.model}', dtype=torch.{config.dtype}, "
        f"max_seq_len={config.max_model_len}, tensor_parallel_size={args.tensor_parallel_size}, "
        f"quantization={args.quantization}, enforce_eager={args.enforce_eager}, kv_cache_dtype={args.kv_cache_dtype}, "
        f"served_model_name={args.served_model_name[0]}, enable_prefix_caching={args.enable_prefix_caching}",
        logs.CORE,
    )
    plan = await _load(args, resolved, timing, faults, gpu)
    started = time.perf_counter()
    if not config.encoder:
        logs.info("gpu_worker.py:760", f"Available KV cache memory: {gib(plan.kv_cache)} GiB", logs.CORE)
        logs.info(
            "kv_cache_utils.py:2328",
            f"GPU KV cache size: {plan.kv_tokens:,} tokens, Maximum concurrency for {plan.max_model_len:,} tokens per "
            f"request: {plan.max_concurrency:.2f}x",
            logs.CORE,
        )
    compiled = await compile_graphs(timing, args, os.environ.get("VLLM_CACHE_ROOT"))
    took = f"init engine (profile, create kv cache, warmup model) took {time.perf_counter() - started:.2f} s"
    logs.info("core.py:395", took + (f" (compilation: {compiled:.2f} s)" if compiled else ""), logs.CORE)
    if gpu:
        gpu.hold(plan.used)
    limits = Limits(
        max_num_seqs=args.max_num_seqs,
        kv_tokens=plan.kv_tokens,
        block_size=args.block_size,
        prefix_caching=args.enable_prefix_caching,
        max_num_queued_reqs=args.max_num_queued_reqs,
        max_num_queued_tokens=args.max_num_queued_tokens,
    )
    metrics = EngineMetrics(args.served_model_name[0], _cache_config(args, plan))
    return Engine(text, timing, limits, metrics, time.monotonic), plan


async def _wait(slow: Fault, faults: EngineFaults) -> None:
    end = time.monotonic() + (slow.value or 30.0)
    # the fault is a file: nothing tells when it is cleared
    while time.monotonic() < end and faults.lasts(slow):  # noqa: ASYNC110
        await asyncio.sleep(0.1)


async def _load(
    args: argparse.Namespace,
    resolved: Resolved,
    timing: EngineTiming,
    faults: EngineFaults,
    gpu: GpuFile | None,
) -> Plan:
    logs.info("gpu_model_runner.py:5040", f"Starting to load model {args.model}...", logs.CORE)
    started = time.perf_counter()
    if resolved.streamed:
        limits = Streaming.of(args)
        weights = await asyncio.to_thread(resolved.streamed.read_weights, resolved.config.dtype, limits)
    else:
        weights = await asyncio.to_thread(read_weights, resolved.folder, args.model, resolved.config.dtype)
    slow = faults.struck("engine-slow-load")
    if slow:
        await _wait(slow, faults)
    seconds = timing.load_seconds
    for done, file in enumerate(weights.files, 1):
        await asyncio.sleep(seconds / len(weights.files))
        share = f"{done * 100 // len(weights.files):3d}% Completed | {done}/{len(weights.files)}"
        print(f"Loading safetensors checkpoint shards: {share} [{file.name}]", flush=True)
        if gpu:
            gpu.hold(weights.bytes * done // len(weights.files) // args.tensor_parallel_size)
    if args.tensor_parallel_size > 1 and (alone := faults.struck("engine-rank-crash")):
        raise logs.RankFailed(
            int(alone.value or 0), RuntimeError("CUDA error: uncorrectable ECC error encountered")
        )
    if faults.struck("engine-crash"):
        raise RuntimeError(
            "CUDA error: an illegal memory access was encountered\nCUDA kernel errors might be asynchronously reported "
            "at some other API call, so the stacktrace below might be incorrect.\nFor debugging consider passing "
            "CUDA_LAUNCH_BLOCKING=1"
        )
    try:
        if faults.struck("engine-oom"):
            raise out_of_memory(resolved.gpu_bytes, 224 * MIB, resolved.gpu_bytes - 512 * MIB)
        plan = plan_memory(
            resolved.config,
            total=resolved.gpu_bytes,
            weights=weights.bytes,
            utilization=args.gpu_memory_utilization,
            tensor_parallel=args.tensor_parallel_size,
            kv_cache_dtype=args.kv_cache_dtype,
            max_num_batched_tokens=args.max_num_batched_tokens,
            max_num_seqs=args.max_num_seqs,
            enforce_eager=args.enforce_eager,
            fit_length=args.max_model_len == -1,
        )
    except RuntimeError as error:
        logs.error(
            "gpu_model_runner.py:5147",
            "Failed to load model - not enough GPU memory. Try lowering --gpu-memory-utilization to free memory for "
            "weights, increasing --tensor-parallel-size, or using --quantization. See "
            "https://docs.vllm.ai/en/latest/configuration/conserving_memory/ for more tips. "
            f"(original error: {error})",
            logs.CORE,
        )
        raise
    loaded = time.perf_counter() - started
    logs.info("default_loader.py:501", f"Loading weights took {loaded:.2f} seconds", logs.CORE)
    memory = f"Model loading took {gib(plan.weights)} GiB memory and {loaded:.6f} seconds"
    logs.info("gpu_model_runner.py:5149", memory, logs.CORE)
    return plan


async def compile_graphs(timing: EngineTiming, args: argparse.Namespace, root: str | None) -> float:
    """Wait as torch.compile and CUDA graph capture do; return the seconds, 0 when eager.

    With a cache root that has the graphs of the same settings, torch.compile takes a tenth. Words of vllm 0.32.0,
    compilation/backends.py.
    """
    if args.enforce_eager:
        return 0.0
    half = timing.compile_seconds / 2
    known = Path(root, "torch_compile_cache", fingerprint(args), "rank_0_0", "backbone") if root else None
    loads = known is not None and (known / "vllm_compile_cache.py").exists()
    took = half / 10 if loads else half
    await asyncio.sleep(took)
    if known:
        logs.info("backends.py:1104", f"Using cache directory: {known} for vLLM's torch.compile", logs.CORE)
    logs.info("backends.py:1166", f"Dynamo bytecode transform time: {took / 2:.2f} s", logs.CORE)
    if loads:
        line = f"Directly load the compiled graph(s) for compile range (1, 8192) from the cache, took {took / 2:.3f} s"
        logs.info("backends.py:290", line, logs.CORE)
    elif known:
        known.mkdir(parents=True, exist_ok=True)
        (known / "vllm_compile_cache.py").write_text("{}")
        logs.info("backends.py:384", "Cache the graph of compile range (1, 8192) for later use", logs.CORE)
    logs.info("monitor.py:20", f"torch.compile took {took:.2f} s in total", logs.CORE)
    print("Capturing CUDA graphs (mixed prefill-decode, PIECEWISE): 100%|██████████| 35/35", flush=True)
    await asyncio.sleep(half)
    print("Capturing CUDA graphs (decode, FULL): 100%|██████████| 35/35", flush=True)
    logs.info(
        "gpu_model_runner.py:6581", f"Graph capturing finished in {half:.0f} secs, took 0.06 GiB", logs.CORE
    )
    return took + half


def fingerprint(args: argparse.Namespace) -> str:
    """The system fingerprint: `vllm-0.32.0-` and eight digits derived from the configuration."""
    digest = hashlib.sha256(repr(sorted(args.non_default.items())).encode()).hexdigest()
    return f"vllm-{VERSION}-{digest[:8]}"


def _cache_config(args: argparse.Namespace, plan: Plan) -> dict[str, str]:
    """The labels of vllm:cache_config_info."""
    fixed = {
        "_block_size_resolved": "True",
        "cache_hit_alignment_tokens": "None",
        "enable_mamba_shared_prefix_checkpoint": "False",
        "hash_block_size": "None",
        "is_attention_free": "False",
        "kv_cache_dtype_skip_layers": "[]",
        "kv_cache_layout": "None",
        "kv_offloading_backend": "native",
        "kv_offloading_size": "None",
        "kv_sharing_fast_prefill": "False",
        "mamba_block_size": "None",
        "mamba_cache_dtype": "auto",
        "mamba_cache_mode": "none",
        "mamba_page_size_padded": "None",
        "mamba_ssm_cache_dtype": "float32",
        "num_cpu_blocks": "None",
        "num_gpu_blocks_override": "None",
        "prefix_cache_retention_interval": "0",
        "prefix_caching_hash_algo": "sha256",
        "prefix_match_unit": "None",
        "replayssm_buffer_len": "16",
        "skip_page_size_padded": "None",
        "sliding_window": "None",
        "swa_bounded_replay": "True",
        "use_kda_recoverssm": "False",
        "use_replayssm": "False",
        "user_specified_block_size": "False",
    }
    return fixed | {
        "block_size": str(args.block_size),
        "effective_attention_block_size": str(args.block_size),
        "cache_dtype": args.kv_cache_dtype,
        "enable_prefix_caching": str(args.enable_prefix_caching),
        "gpu_memory_utilization": str(args.gpu_memory_utilization),
        "kv_cache_max_concurrency": str(plan.max_concurrency),
        "kv_cache_memory_bytes": str(plan.kv_cache),
        "kv_cache_size_tokens": str(plan.kv_tokens),
        "num_gpu_blocks": str(plan.kv_tokens // args.block_size),
    }
