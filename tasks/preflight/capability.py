"""What a GPU's compute capability allows vLLM: quantisation, dtype, the KV cache's dtype, ranks. Pure.

Sources in vLLM 0.32.0: `_get_quantization_config` in vllm/config/vllm.py (a method's minimum and dtypes; the figures of
each version are in engine_flags/*.json), `check_if_supports_dtype` and `supported_dtypes` in vllm/platforms/cuda.py,
`_resolve_auto_dtype` and `_FLOAT16_NOT_SUPPORTED_MODELS` in vllm/config/model.py, `supports_compute_capability` in
vllm/v1/attention/backends/flashinfer.py and the KV cache's check in triton_attn.py beside it,
`verify_with_parallel_config` in vllm/config/model.py.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tasks.preflight.flags import FlagTable

# Compute capability by the name EC2 gives the GPU (DescribeInstanceTypes). https://developer.nvidia.com/cuda-gpus and,
# for older ones, https://developer.nvidia.com/cuda-legacy-gpus. Ten times the number, as vLLM counts.
CAPABILITY: Mapping[str, int] = {
    "K80": 37,
    "M60": 52,
    "V100": 70,
    "T4": 75,
    "T4g": 75,
    "A100": 80,
    "A10G": 86,
    "L4": 89,
    "L40S": 89,
    "H100": 90,
    "H200": 90,
    "B200": 100,
    "B300": 103,
    "RTX PRO 4500": 120,
    "RTX PRO Server 6000": 120,
}
BFLOAT16, FLOAT16, FP8_CACHE = 80, 60, 80
NEVER_FLOAT16 = ("gemma2", "gemma3", "gemma3_text", "glm4")
PARALLEL = (
    ("--tensor-parallel-size", "-tp"),
    ("--pipeline-parallel-size", "-pp"),
    ("--data-parallel-size", "-dp"),
)
DTYPES = {"half": "float16", "float": "float32", "torch.bfloat16": "bfloat16", "torch.float16": "float16"}


@dataclass(frozen=True)
class Asked:
    """What a command line asks of the GPU."""

    dtype: str = "auto"
    quantization: str | None = None
    kv_cache_dtype: str = "auto"


def asked_of(arguments: Sequence[str]) -> Asked:
    return Asked(
        dtype=value_of(arguments, "--dtype") or "auto",
        quantization=value_of(arguments, "--quantization", "-q"),
        kv_cache_dtype=value_of(arguments, "--kv-cache-dtype") or "auto",
    )


def value_of(arguments: Sequence[str], *spellings: str) -> str | None:
    """What a flag is given, as --flag=value or as --flag value; the last time counts, as it does to argparse."""
    value = None
    for word, following in zip(arguments, [*arguments[1:], ""], strict=True):
        name, equals, joined = word.partition("=")
        if name.replace("_", "-") in spellings:
            value = joined if equals else following
    return value


@dataclass(frozen=True)
class Verdict:
    """`fatal` False: it runs, and not as one may think."""

    what: str
    remedy: str
    fatal: bool = True


def capability_of(gpu_name: str) -> int | None:
    """75 of "NVIDIA T4"; None for a GPU that is not in the table."""
    return CAPABILITY.get(gpu_name.removeprefix("NVIDIA").strip())


def shown(capability: int) -> str:
    return f"{capability // 10}.{capability % 10}"


def quantization_of(asked: Asked, config: Mapping[str, Any]) -> tuple[str, str] | None:
    """The method and where it is said: the flag before the repo's config.json. None for weights as they are.

    Of ModelOpt's checkpoints the algorithm tells the method.
    """
    if asked.quantization:
        return asked.quantization, "--quantization"
    text = config.get("text_config") or {}
    said = (
        config.get("quantization_config")
        or text.get("quantization_config")
        or config.get("compression_config")
    )
    if not isinstance(said, Mapping) or not said:
        return None
    method = str(
        said.get("quant_method") or ("compressed-tensors" if "compression_config" in config else "")
    ).lower()
    method = method.replace("compressed_tensors", "compressed-tensors")
    if method == "modelopt":
        algorithm = str(said.get("quant_algo") or "").upper()
        method = {
            "NVFP4": "modelopt_fp4",
            "MXFP8": "modelopt_mxfp8",
            "MIXED_PRECISION": "modelopt_mixed",
        }.get(algorithm, method)
    return (method, "config.json") if method else None


def dtype_of(asked: Asked, config: Mapping[str, Any], capability: int) -> str:
    """The dtype vLLM computes in: the flag's, or what `auto` comes to on this GPU."""
    if asked.dtype != "auto":
        return DTYPES.get(asked.dtype, asked.dtype)
    text = config.get("text_config") or {}
    said = str(
        config.get("dtype") or config.get("torch_dtype") or text.get("dtype") or text.get("torch_dtype") or ""
    )
    dtype = DTYPES.get(said, said) or "bfloat16"
    usable = [
        name
        for name, least in (("bfloat16", BFLOAT16), ("float16", FLOAT16), ("float32", 0))
        if capability >= least and not (name == "float16" and config.get("model_type") in NEVER_FLOAT16)
    ]
    return dtype if dtype in usable and dtype != "float32" else usable[0]


def judge_quantization(
    method: str, source: str, dtype: str, capability: int, gpu: str, table: FlagTable
) -> Verdict | None:
    """Whether this vLLM can run the method on this GPU; None where it can."""
    told = table.quantization.get(method)
    if told is None:
        return Verdict(
            f"vLLM {table.version} has no quantisation method {method} ({source})",
            f"take a repo quantised by one of {', '.join(sorted(table.quantization))}, or an image that has it",
            fatal=source != "config.json",  # a method of a repo may be known under another name
        )
    least = told.get("capability")
    if least is not None and capability < least:
        return Verdict(
            f"{method} ({source}) needs compute capability {shown(least)} in vLLM {table.version}, {gpu} has {shown(capability)}",
            "take a newer GPU (cluster.gpu.instance_type) or a repo quantised by another method",
        )
    marlin = table.quantization.get(f"{method}_marlin") or {}  # what vLLM puts in its place where the GPU can
    dtypes = {
        *told.get("dtypes", ()),
        *(marlin.get("dtypes", ()) if capability >= marlin.get("capability", 999) else ()),
    }
    if dtypes and dtype not in dtypes:
        return Verdict(
            f"{method} ({source}) computes in {' or '.join(sorted(dtypes))} in vLLM {table.version}, and dtype is {dtype}",
            f"set engine.dtype: {sorted(dtypes)[-1]} in the model's file",
        )
    return None


def judge_dtype(asked: Asked, config: Mapping[str, Any], capability: int, gpu: str) -> Verdict | None:
    """Whether the GPU computes in the dtype asked for, or in which other it will."""
    if asked.dtype == "bfloat16" and capability < BFLOAT16:
        return Verdict(
            f"bfloat16 needs compute capability {shown(BFLOAT16)}, {gpu} has {shown(capability)}",
            "set engine.dtype: float16 in the model's file, or take a newer GPU (cluster.gpu.instance_type)",
        )
    if DTYPES.get(asked.dtype, asked.dtype) == "float16" and config.get("model_type") in NEVER_FLOAT16:
        return Verdict(
            f"vLLM does not run {config['model_type']} in float16: it is numerically unstable",
            "set engine.dtype: bfloat16 or float32 in the model's file",
        )
    if asked.kv_cache_dtype.startswith("fp8") and capability < FP8_CACHE:
        return Verdict(
            f"an fp8 KV cache needs compute capability {shown(FP8_CACHE)}, {gpu} has {shown(capability)}",
            "set engine.kv_cache_dtype: auto in the model's file, or take a newer GPU (cluster.gpu.instance_type)",
        )
    said = str(config.get("dtype") or config.get("torch_dtype") or "").removeprefix("torch.")
    used = dtype_of(asked, config, capability)
    if asked.dtype == "auto" and said == "bfloat16" and used != said:
        return Verdict(
            f"the model is {said}, {gpu} has compute capability {shown(capability)}: vLLM runs it in {used}",
            "",
            fatal=False,
        )
    return None


def ranks(arguments: Sequence[str]) -> int:
    """How many GPUs one replica uses: tensor, pipeline and data parallel ranks multiplied."""
    sizes = [value_of(arguments, *spellings) for spellings in PARALLEL]
    return math.prod(int(size) for size in sizes if size and size.isdigit())


def judge_ranks(
    *, tensor_parallel: int, used: int, gpus: int, heads: int | None, has_shm: bool
) -> Verdict | None:
    """Ranks against GPUs, attention heads and shared memory. `heads` None: the config does not say."""
    if used != gpus:
        more = "would stand idle" if gpus > used else "are missing"
        return Verdict(
            f"the engine's flags use {used} GPU (tensor x pipeline x data parallel), resources.gpu is {gpus}: {abs(gpus - used)} {more}",
            f"set resources.gpu: {used}, or engine.tensor_parallel_size: {gpus}, in the model's file",
        )
    if heads and heads % tensor_parallel:
        fitting = [n for n in range(1, tensor_parallel + 1) if heads % n == 0]
        return Verdict(
            f"tensor_parallel_size {tensor_parallel} does not divide the model's {heads} attention heads",
            f"set engine.tensor_parallel_size and resources.gpu to {' or '.join(map(str, fitting[-2:]))}",
        )
    if tensor_parallel > 1 and not has_shm:
        return Verdict(
            "the pod has no /dev/shm of its own, and NCCL needs more than the 64 MiB there are",
            "check k8s/serving/deployment.yaml",
        )
    return None
