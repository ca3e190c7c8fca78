"""In which dtype vLLM computes, and in which it keeps keys and values. Pure.

Sources in vLLM 0.32.0: `get_torch_dtype` in vllm/transformers_utils/model_arch_config_convertor.py, `_resolve_auto_dtype` and
`_FLOAT16_NOT_SUPPORTED_MODELS` in vllm/config/model.py, `supported_dtypes` in vllm/platforms/cuda.py,
`resolve_kv_cache_dtype_string` in vllm/utils/torch_utils.py, page sizes in vllm/v1/kv_cache_interface.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tasks.preflight.arguments import Settings
from tasks.preflight.config import ENCODER_KEYS, Config
from tasks.preflight.gpus import shown
from tasks.preflight.rows import Verdict
from tasks.preflight.states import WIDTH

BFLOAT16, FLOAT16, FP8_CACHE = 80, 60, 80
NEVER_FLOAT16 = ("gemma2", "gemma3", "gemma3_text", "glm4")
NAMES = {"half": "float16", "float": "float32", "torch.bfloat16": "bfloat16", "torch.float16": "float16"}
STORED_NAMES = {"F64": "float32", "F32": "float32", "BF16": "bfloat16", "F16": "float16"}


def said_dtype(config: Config, stored: Mapping[str, int] | None = None) -> str:
    """The dtype of the checkpoint: config.json's, else the widest of the tensors', else float32."""
    nested = [config.top.get(key) for key in ENCODER_KEYS]
    for part in (config.top, config.text, *nested):
        if isinstance(part, Mapping) and (said := part.get("dtype") or part.get("torch_dtype")):
            return NAMES.get(str(said), str(said)).removeprefix("torch.")
    for name in ("F64", "F32", "BF16", "F16"):
        if (stored or {}).get(name):
            return STORED_NAMES[name]
    return "float32"


def served_dtype(
    config: Config, settings: Settings, capability: int | None, stored: Mapping[str, int] | None = None
) -> str:
    """The flag's dtype, or what `auto` comes to on this GPU: float32 becomes half as wide."""
    if settings.dtype != "auto":
        return NAMES.get(settings.dtype, settings.dtype)
    least = capability if capability is not None else BFLOAT16
    model_type = str(config.top.get("model_type") or "")
    usable = [
        name
        for name, needed in (("bfloat16", BFLOAT16), ("float16", FLOAT16), ("float32", 0))
        if least >= needed and not (name == "float16" and model_type in NEVER_FLOAT16)
    ]
    preferred = "float16" if settings.pooling and "float16" in usable else usable[0]
    said = said_dtype(config, stored)
    said = preferred if said == "float32" else said
    return said if said in usable else preferred


def cache_width(config: Config, settings: Settings, dtype: str) -> tuple[float, str]:
    """(bytes an element of keys and values, its name). `auto` is the model's dtype unless its quantisation says otherwise."""
    name = settings.kv_cache_dtype
    if name == "auto":
        name = _scheme(config) or dtype
    if name.startswith("nvfp4"):
        return 0.5 + 1 / 16, name
    if name.startswith(("fp8", "int8")):
        return 1, name
    if name.startswith("int4"):
        return 0.5, name
    return WIDTH.get(NAMES.get(name, name), 2), name


def _scheme(config: Config) -> str | None:
    """fp8 or nvfp4 where the checkpoint's quantisation covers keys and values."""
    said: Any = config.top.get("quantization_config") or config.text.get("quantization_config") or {}
    if not isinstance(said, Mapping):
        return None
    inner = said.get("quantization") if isinstance(said.get("quantization"), Mapping) else said
    scheme = said.get("kv_cache_scheme") or (inner or {}).get("kv_cache_scheme")
    if isinstance(scheme, Mapping):
        return "nvfp4" if scheme.get("num_bits") == 4 else "fp8"
    algorithm = str((inner or {}).get("kv_cache_quant_algo") or said.get("kv_cache_quant_algo") or "").lower()
    return algorithm if algorithm in ("fp8", "nvfp4") else None


def packed_latent(settings: Settings) -> int | None:
    """Bytes a token of the packed MLA layouts (`state_content_bytes` in mla_attention.py); None for the plain one."""
    return {"fp8_ds_mla": 656, "nvfp4_ds_mla": 352}.get(settings.kv_cache_dtype)


def judge_dtype(
    config: Config, settings: Settings, gpu: str, capability: int, dtype: str
) -> list[Verdict | None]:
    """Whether a GPU computes in the dtype asked for, or in which other it will; `dtype`: what it is served in."""
    newer = "take a newer GPU (cluster.gpu.instance_type: g5.2xlarge has an A10G, 8.6)"
    found: list[Verdict | None] = []
    if settings.dtype == "bfloat16" and capability < BFLOAT16:
        found.append(
            Verdict(
                f"bfloat16 needs compute capability {shown(BFLOAT16)}, {gpu} has {shown(capability)}",
                f"set engine.dtype: float16 in the model's file, or {newer}",
            )
        )
    model_type = config.top.get("model_type")
    if NAMES.get(settings.dtype, settings.dtype) == "float16" and model_type in NEVER_FLOAT16:
        found.append(
            Verdict(
                f"vLLM does not run {model_type} in float16: it is numerically unstable",
                "set engine.dtype: bfloat16 or float32 in the model's file",
            )
        )
    if settings.kv_cache_dtype.startswith("fp8") and capability < FP8_CACHE:
        found.append(
            Verdict(
                f"an fp8 KV cache needs compute capability {shown(FP8_CACHE)}, {gpu} has {shown(capability)}",
                f"set engine.kv_cache_dtype: auto in the model's file, or {newer}",
            )
        )
    said = said_dtype(config) if (config.top.get("dtype") or config.top.get("torch_dtype")) else ""
    if settings.dtype == "auto" and said == "bfloat16" and dtype != said:
        told = (
            f"the model is {said}, {gpu} has compute capability {shown(capability)}: vLLM runs it in {dtype}"
        )
        found.append(Verdict(told, "", fatal=False))
    return found
