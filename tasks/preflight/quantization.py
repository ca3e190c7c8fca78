"""How a checkpoint is quantised, and whether this vLLM runs it on this GPU. Pure.

Sources in vLLM 0.32.0: `_get_quantization_config` in vllm/config/vllm.py (a method's least compute capability and dtypes; the figures of
each version are in engine_flags/*.json), `_verify_quantization` in vllm/config/model.py, `override_quantization_method` of
each method in vllm/model_executor/layers/quantization.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tasks.preflight.arguments import Settings
from tasks.preflight.config import Config
from tasks.preflight.flags import FlagTable
from tasks.preflight.gpus import shown
from tasks.preflight.rows import Verdict

# What config.json calls a method and vLLM registers under another name (`override_quantization_method`).
ALSO: Mapping[str, tuple[str, ...]] = {
    "awq": ("awq", "auto_awq", "awq_marlin"),
    "gptq": ("gptq", "auto_gptq", "gptq_marlin"),
    "auto-round": ("inc", "auto-round"),
    "mxfp4": ("mxfp4", "gpt_oss_mxfp4"),
}
FP8_ARITHMETIC = (
    89  # `CompressedTensorsW8A8Fp8.get_min_capability`; below it `is_fp8_marlin_supported` (7.5) decides
)
# The first version whose wheel was read without those kernels (vllm-project/vllm#54809).
UNORDERED_SINCE = (0, 32)
FP8_METHODS = ("fp8", "fbgemm_fp8", "fp8_per_tensor", "fp8_per_channel", "modelopt")
MODELOPT = {"NVFP4": "modelopt_fp4", "MXFP8": "modelopt_mxfp8", "MIXED_PRECISION": "modelopt_mixed"}


@dataclass(frozen=True)
class Quantization:
    """`source`: where it is said, --quantization or config.json. `group`: elements that share a scale along the
    input; `block`: (output, input) elements of a block that does; None: whole rows. `eight_bit_float`: FP8 weights.
    `reordered`: groups are in the order of activations, and an index says which row is in which. `least`: compute capability
    that its scheme needs beyond its method's."""

    method: str
    source: str
    group: int | None = None
    block: tuple[int, int] | None = None
    eight_bit_float: bool = False
    reordered: bool = False
    least: int = 0

    @property
    def stored(self) -> bool:
        """Whether the checkpoint itself is quantised."""
        return self.source == "config.json"


def quantization_of(settings: Settings, config: Config) -> Quantization | None:
    """The repo's method, else the flag's; None for weights as they are."""
    said = _said(config)
    if said is None:
        return _of_flag(settings.quantization)
    method = str(said.get("quant_method") or "").lower()
    if not method and "compression_config" in config.top:
        method = "compressed-tensors"
    method = method.replace("compressed_tensors", "compressed-tensors")
    inner = said.get("quantization") if isinstance(said.get("quantization"), Mapping) else said
    algorithm = str((inner or {}).get("quant_algo") or said.get("quant_algo") or "").upper()
    if method == "modelopt" or (not method and algorithm):
        method = MODELOPT.get(algorithm, "modelopt")
    if not method:
        return _of_flag(settings.quantization)
    floats = {(scheme.get("num_bits"), scheme.get("type")) for scheme in _weights(said)}
    eight = (8, "float") in floats or (method in FP8_METHODS and not floats - {(8, "float")})
    return Quantization(
        method, "config.json", _group(said), _block(said), eight, _reordered(said), _least(said)
    )


def _reordered(said: Mapping[str, Any]) -> bool:
    """GPTQ's desc_act over groups (`normalize_and_validate_gptq_desc_act`), or actorder group of compressed-tensors."""
    schemes = any(
        str(scheme.get("actorder")).lower() in ("group", "dynamic", "true") for scheme in _weights(said)
    )
    return schemes or (said.get("desc_act") is True and said.get("group_size") != -1)


def _least(said: Mapping[str, Any]) -> int:
    """MXFP4 as compressed-tensors packs it (`CompressedTensorsW4A4Mxfp4.get_min_capability`)."""
    kinds = {(one.get("num_bits"), one.get("type"), one.get("group_size")) for one in _weights(said)}
    return 80 if (4, "float", 32) in kinds else 0


def _of_flag(method: str | None) -> Quantization | None:
    return Quantization(method, "--quantization", eight_bit_float=method in FP8_METHODS) if method else None


def _said(config: Config) -> Mapping[str, Any] | None:
    for part in (config.top, config.text):
        for key in ("quantization_config", "compression_config"):
            if isinstance(part.get(key), Mapping) and part[key]:
                found: Mapping[str, Any] = part[key]
                return found
    return None


def _weights(said: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The weights' schemes of a compressed-tensors config."""
    groups = said.get("config_groups")
    if not isinstance(groups, Mapping):
        return []
    schemes = [group.get("weights") for group in groups.values() if isinstance(group, Mapping)]
    return [scheme for scheme in schemes if isinstance(scheme, Mapping)]


def _group(said: Mapping[str, Any]) -> int | None:
    sizes = [said.get("group_size"), said.get("q_group_size"), *(w.get("group_size") for w in _weights(said))]
    found = [size for size in sizes if isinstance(size, int) and size > 0]
    return max(found) if found else None


def _block(said: Mapping[str, Any]) -> tuple[int, int] | None:
    blocks = [said.get("weight_block_size"), *(w.get("block_structure") for w in _weights(said))]
    for block in blocks:
        if isinstance(block, list) and len(block) == 2:
            return int(block[0]), int(block[1])
    return None


def judge_quantization(
    found: Quantization, flag: str | None, dtype: str, capability: int | None, gpu: str, table: FlagTable
) -> Verdict | None:
    """Whether this vLLM can run the method on this GPU; None where it can. `flag`: what --quantization says."""
    method, source = found.method, found.source
    names = [name for name in (method, *ALSO.get(method, ())) if name in table.quantization]
    if not names:
        return Verdict(
            f"vLLM {table.version} has no quantisation method {method} ({source})",
            f"take a repo quantised by one of {', '.join(sorted(table.quantization))}, or an image that has it",
        )
    if found.stored and flag and not _agree(method, flag):
        return Verdict(
            f"--quantization is {flag}, the repo's config.json says {method}: vLLM takes no other method than the repo's",
            "leave engine.quantization out of the model's file",
        )
    if found.reordered and tuple(map(int, table.version.split(".")[:2])) >= UNORDERED_SINCE:
        return Verdict(
            f"{method} ({source}) orders its groups by activation (desc_act or actorder group): vLLM {table.version} has no "
            "kernels for that any more",
            "take a repo quantised with desc_act false, or with static activation ordering, or by AWQ",
        )
    least = max(
        found.least, min((table.quantization[name].get("capability", 0) for name in names), default=0)
    )
    if capability is not None and capability < least:
        return Verdict(
            f"{method} ({source}) needs compute capability {shown(least)} in vLLM {table.version}, {gpu} has {shown(capability)}",
            "take a newer GPU (cluster.gpu.instance_type: g6.2xlarge has an L4, 8.9) or a repo quantised by another method",
        )
    if found.eight_bit_float and capability is not None and capability < FP8_ARITHMETIC:
        return Verdict(
            f"{method} ({source}): {gpu} has compute capability {shown(capability)} and no FP8 arithmetic ({shown(FP8_ARITHMETIC)}): "
            f"weights stay FP8 in memory, Marlin kernels compute in {dtype}",
            "",
            fatal=False,
        )
    dtypes = {
        each
        for name in {*names, f"{method}_marlin"} & set(table.quantization)
        if (capability or 0) >= table.quantization[name].get("capability", 0)
        for each in table.quantization[name].get("dtypes", ())
    }
    if dtypes and dtype not in dtypes:
        return Verdict(
            f"{method} ({source}) computes in {' or '.join(sorted(dtypes))} in vLLM {table.version}, and dtype is {dtype}",
            f"set engine.dtype: {sorted(dtypes)[-1]} in the model's file",
        )
    return None


def _agree(method: str, flag: str) -> bool:
    """Whether the flag names the repo's method, or a kernel or alias of it."""
    family = {method, *ALSO.get(method, ())}
    return flag in family or bool(family & set(ALSO.get(flag, ()))) or flag in ("humming", "moe_wna16")
