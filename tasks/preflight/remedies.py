"""What would make a model fit: settings tried one by one with the same arithmetic. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from tasks.preflight.memory import Plan, plan
from tasks.preflight.nodes import InstanceType
from tasks.preflight.ranks import fitting
from tasks.records.quantities import human_bytes

MOST_UTILIZATION = 0.95
ROUND = 1024  # tokens: a context is named in whole thousands
FP8 = 89  # compute capability with FP8 in hardware


def remedy(needs: Plan, stored: Mapping[str, int], instance: InstanceType) -> str:
    """Changes that work, each alone, nearest first; a larger GPU where none does."""
    found = [*_shorter(needs), *_fuller(needs, stored), *_narrower(needs, stored)]
    found += _more_gpus(needs, stored, instance)
    found.append(_larger_gpu(needs))
    return "; or ".join(found[:4])


def _with(needs: Plan, stored: Mapping[str, int], **change: object) -> Plan:
    return plan(needs.config, stored, replace(needs.settings, **change), needs.gpu, longest=needs.wanted)  # type: ignore[arg-type]


def _shorter(needs: Plan) -> list[str]:
    longest = min(needs.longest, needs.wanted)
    length = longest // ROUND * ROUND or longest
    return (
        [f"set engine.max_model_len: {length} (or less)"] if length >= 256 and length < needs.wanted else []
    )


def _fuller(needs: Plan, stored: Mapping[str, int]) -> list[str]:
    used = needs.settings.utilization
    for step in (0.92, MOST_UTILIZATION):
        if used < step and _with(needs, stored, utilization=step).fits:
            return [f"set engine.gpu_memory_utilization: {step}"]
    return []


def _narrower(needs: Plan, stored: Mapping[str, int]) -> list[str]:
    capable = (needs.gpu.capability or 0) >= FP8
    auto = needs.settings.kv_cache_dtype == "auto" and not needs.cache_dtype.startswith("fp8")
    if capable and auto and needs.kv_cache > 0 and _with(needs, stored, kv_cache_dtype="fp8").fits:
        return ["set engine.kv_cache_dtype: fp8"]
    if capable and needs.quantization is None and _with(needs, stored, quantization="fp8").fits:
        return ["set engine.quantization: fp8 (quantised while loading)"]
    return []


def _more_gpus(needs: Plan, stored: Mapping[str, int], instance: InstanceType) -> list[str]:
    sizes = fitting(needs.config, needs.quantization, experts_whole=needs.settings.expert_parallel)
    for size in sizes:
        if size > needs.settings.tensor and _with(needs, stored, tensor=size).fits:
            gpus = size * needs.settings.pipeline * needs.settings.data
            where = (
                ""
                if gpus <= instance.gpus
                else f", on an instance type with {gpus} of this GPU ({instance.name} has {instance.gpus})"
            )
            return [
                f"--tensor-parallel-size {size} (engine.tensor_parallel_size: {size}, resources.gpu: {gpus}){where}"
            ]
    return []


def _larger_gpu(needs: Plan) -> str:
    bytes_needed = needs.weights.total + needs.start_total + needs.needed + needs.pool.block
    least = int(bytes_needed / needs.settings.utilization)
    return f"take a GPU of {human_bytes(least)} or more (cluster.gpu.instance_type)"
