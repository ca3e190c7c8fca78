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
MODELOPT = {"NVFP4": "modelopt_fp4", "MXFP8": "modelopt_mxfp8", "MIXED_PRECISION": "modelopt_mixed"}


@dataclass(frozen=True)
class Quantization:
    """`source`: where it is said, --quantization or config.json. `group`: elements that share a scale along the
    input; `block`: (output, input) elements of a block that does; None: whole rows."""

    method: str
    source: str
    group: int | None = None
    block: tuple[int, int] | None = None

    @property
    def stored(self) -> bool:
        """Whether the checkpoint itself is quantised."""
        return self.source == "config.json"


def quantization_of(settings: Settings, config: Config) -> Quantization | None:
    """The repo's method, else the flag's; None for weights as they are."""
    said = _said(config)
    if said is None:
        return Quantization(settings.quantization, "--quantization") if settings.quantization else None
    method = str(said.get("quant_method") or "").lower()
    if not method and "compression_config" in config.top:
        method = "compressed-tensors"
    method = method.replace("compressed_tensors", "compressed-tensors")
    inner = said.get("quantization") if isinstance(said.get("quantization"), Mapping) else said
    algorithm = str((inner or {}).get("quant_algo") or said.get("quant_algo") or "").upper()
    if method == "modelopt" or (not method and algorithm):
        method = MODELOPT.get(algorithm, "modelopt")
    if not method:
        return Quantization(settings.quantization, "--quantization") if settings.quantization else None
    return Quantization(method, "config.json", _group(said), _block(said))


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
    least = min((table.quantization[name].get("capability", 0) for name in names), default=0)
    if capability is not None and capability < least:
        return Verdict(
            f"{method} ({source}) needs compute capability {shown(least)} in vLLM {table.version}, {gpu} has {shown(capability)}",
            "take a newer GPU (cluster.gpu.instance_type: g6.2xlarge has an L4, 8.9) or a repo quantised by another method",
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
