"""Whether a model divides over its GPUs: heads, layers, widths, blocks of quantised weights. Pure.

Sources in vLLM 0.32.0: `verify_with_parallel_config` in vllm/config/model.py; `assert total_num_kv_heads % tp_size == 0` of
the models; `divide` in vllm/distributed/utils.py; `validate_fp8_block_shape` in
vllm/model_executor/layers/quantization/utils/fp8_utils.py; `create_weights` in auto_awq.py beside it and
`verify_group_size_divides_partition` in vllm/distributed/utils.py; mamba_mixer2.py in vllm/model_executor/layers/mamba.
"""

from __future__ import annotations

from collections.abc import Callable

from tasks.preflight.arguments import Settings
from tasks.preflight.config import Config
from tasks.preflight.quantization import Quantization
from tasks.preflight.rows import Verdict

MOST = 16  # of tensor_parallel_size in a model's file
GROUP_METHODS = ("awq", "gptq", "auto_awq", "auto_gptq", "awq_marlin", "gptq_marlin", "compressed-tensors")


def obstacle(config: Config, quantization: Quantization | None, tensor: int, *, experts_whole: bool) -> str:
    """Why the model cannot be split over `tensor` ranks; "" where it can. `experts_whole`: expert parallel."""
    if tensor == 1:
        return ""
    checks: tuple[Callable[[], str], ...] = (
        lambda: _heads(config, tensor),
        lambda: _states(config, tensor),
        lambda: _widths(config, quantization, tensor, experts_whole=experts_whole),
    )
    for check in checks:
        try:
            if found := check():
                return found
        except ValueError:  # sizes config.json does not say are not judged
            continue
    return ""


def _heads(config: Config, tensor: int) -> str:
    heads, kv_heads = config.heads, config.kv_heads
    if heads % tensor:
        return f"its {heads} attention heads"
    if not config.is_latent and kv_heads % tensor and tensor % kv_heads:
        return f"its {kv_heads} key-value heads"
    return ""


def _states(config: Config, tensor: int) -> str:
    for name, said in (
        ("mamba_n_heads", "Mamba heads"),
        ("mamba_num_heads", "Mamba heads"),
        ("n_mamba_heads", "Mamba heads"),
        ("linear_num_key_heads", "linear attention heads"),
        ("linear_num_value_heads", "linear attention heads"),
    ):
        value = config.get(name) if config.model_type not in ("mamba", "jamba") else None
        if isinstance(value, int) and value % tensor:
            return f"its {value} {said}"
    for name in ("mamba_n_groups", "mamba_ngroups", "n_groups"):
        groups = config.get(name)
        if isinstance(groups, int) and groups > 1 and groups % tensor:
            return f"its {groups} Mamba groups"
    return ""


def _widths(config: Config, quantization: Quantization | None, tensor: int, *, experts_whole: bool) -> str:
    inputs = {"attention's output": config.heads * config.head_size}
    if config.is_latent:
        inputs = {"attention's output": config.heads * config.size("v_head_dim", 128)}
    # only what config.json says itself: a model type's default width is not the repo's
    dense, narrow = config.text.get("intermediate_size"), config.text.get("moe_intermediate_size")
    routed = bool(config.experts)
    has_dense = not routed or bool(config.get("first_k_dense_replace")) or not narrow
    if isinstance(dense, int) and has_dense and not (routed and experts_whole and not narrow):
        inputs["feed-forward layer"] = dense
    if isinstance(narrow, int) and routed and not experts_whole:
        inputs["experts"] = narrow
    for what, width in inputs.items():
        if width % tensor:
            return f"the {what} of {width:,}"
        if found := _quantised(quantization, what, width // tensor):
            return found
    return ""


def _quantised(quantization: Quantization | None, what: str, width: int) -> str:
    if quantization is None or not quantization.stored:
        return ""
    if quantization.block and (width % quantization.block[1] or width % quantization.block[0]):
        return f"the {what} of {width:,} a rank, which is not whole blocks of {quantization.block[0]} x {quantization.block[1]} ({quantization.method})"
    grouped = quantization.group and quantization.method in GROUP_METHODS
    if grouped and quantization.group and width % quantization.group:
        return f"the {what} of {width:,} a rank, which is not whole groups of {quantization.group} ({quantization.method})"
    return ""


def fitting(config: Config, quantization: Quantization | None, *, experts_whole: bool) -> list[int]:
    """The tensor-parallel sizes the model can be split over, up to 16."""
    return [
        size
        for size in range(1, MOST + 1)
        if not obstacle(config, quantization, size, experts_whole=experts_whole)
    ]


def judge_ranks(
    config: Config,
    quantization: Quantization | None,
    settings: Settings,
    *,
    gpus: int,
    has_shm: bool,
    pipelines: bool | None = None,
) -> list[Verdict | None]:
    """Ranks against GPUs, the model and shared memory. `gpus`: resources.gpu; `pipelines`: whether the architecture
    can be split by layers (None: not known)."""
    whole = settings.expert_parallel
    sizes = fitting(config, quantization, experts_whole=whole)
    found: list[Verdict | None] = [_against_gpus(settings, gpus)]
    if why := obstacle(config, quantization, settings.tensor, experts_whole=whole):
        named = ", ".join(map(str, sizes))
        best = max([size for size in sizes if size <= gpus] or [1])
        remedy = f"set engine.tensor_parallel_size to {best} (any of {named} divides it)"
        if best < gpus and gpus % best == 0 and gpus > 1:
            remedy += f", with --pipeline-parallel-size={gpus // best} for {gpus} GPUs"
        found.append(
            Verdict(
                f"tensor_parallel_size {settings.tensor} does not divide {why}; sizes that do: {named}",
                remedy,
            )
        )
    if settings.pipeline > 1:
        found.append(_pipeline(config, settings, pipelines))
    if settings.expert_parallel and not config.experts:
        found.append(
            Verdict(
                "--enable-expert-parallel is for models with experts, and this one has none",
                "take --enable-expert-parallel out of engine.extra_args",
            )
        )
    if settings.gpus > 1 and not has_shm:
        found.append(
            Verdict(
                "the pod has no /dev/shm of its own, and NCCL needs more than the 64 MiB there are",
                "check k8s/serving/deployment.yaml",
                fatal=settings.tensor > 1,
            )
        )
    return found


def _against_gpus(settings: Settings, gpus: int) -> Verdict | None:
    if settings.gpus == gpus:
        return None
    more = "would stand idle" if gpus > settings.gpus else "are missing"
    return Verdict(
        f"the engine's flags use {settings.gpus} GPU (tensor x pipeline x data parallel), resources.gpu is {gpus}: "
        f"{abs(gpus - settings.gpus)} {more}",
        f"set resources.gpu: {settings.gpus}, or engine.tensor_parallel_size: {gpus}, in the model's file",
    )


def _pipeline(config: Config, settings: Settings, pipelines: bool | None) -> Verdict | None:
    if pipelines is False:
        return Verdict(
            f"vLLM cannot split {config.architecture} into pipeline stages",
            f"set engine.tensor_parallel_size: {settings.ranks} instead of --pipeline-parallel-size",
        )
    try:
        layers = config.layers
    except ValueError:
        return None
    if layers < settings.pipeline:
        return Verdict(
            f"--pipeline-parallel-size {settings.pipeline} is more than the model's {layers} layers",
            f"set it to {layers} or less",
        )
    return None
