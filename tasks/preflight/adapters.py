"""Whether LoRA adapters are of the model and within the engine's limits. Pure.

Follows vLLM 0.32.0: `PEFTHelper.validate_legal` and `_validate_features` in vllm/lora/peft_helper.py, `MaxLoRARanks` in
vllm/config/lora.py, `check_unexpected_modules` in vllm/lora/lora_model.py. adapter_config.json is PEFT's (peft/tuners/lora/config.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

from tasks.preflight.rows import Row
from tasks.records.model import Engine, Lora, Model
from tasks.records.quantities import human_bytes
from tasks.records.results import HubInspection

CONFIG = "adapter_config.json"
WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
RANKS: tuple[int, ...] = get_args(Engine.model_fields["max_lora_rank"].annotation)
# initialisations that leave the base's weights as they are
INITS = ("gaussian", "eva", "orthogonal", "mica", "lora_ga")
CLASSIFIERS = ("classifier", "score")
NOT_SUPPORTED = {
    "use_dora": "DoRA",
    "lora_bias": "a bias of its own (lora_bias)",
    "alora_invocation_tokens": "activated LoRA",
    "layer_replication": "replicated layers",
    "use_bdlora": "block-diagonal LoRA",
    "use_qalora": "QALoRA",
}


def judge_adapters(model: Model, inspection: HubInspection) -> Row | None:
    """Every adapter against base, rank, features and modules; None where the model's file names none."""
    if not model.engine.lora:
        return None
    told = []
    for lora, adapter in zip(model.engine.lora, inspection.adapters, strict=True):
        for wrong, remedy in _obstacles(lora, adapter, model, inspection):
            return Row("fail", f"adapter {lora.name} ({lora.repo}): {wrong}", remedy)
        config = adapter.documents[CONFIG]
        told.append(
            f"{lora.name} of rank {rank_of(config)} on {', '.join(adapter.modules[:4])}"
            f"{', …' * (len(adapter.modules) > 4)} ({human_bytes(adapter.model.total_bytes)})"
        )
    slots = f"; {model.engine.max_loras} at a time, ranks up to {model.engine.max_lora_rank}"
    return Row("ok", "; ".join(told) + slots)


def rank_of(config: dict[str, Any]) -> int:
    """The highest rank of any module."""
    return max([int(config.get("r") or 0), *map(int, (config.get("rank_pattern") or {}).values())])


def _obstacles(
    lora: Lora, adapter: HubInspection, model: Model, base: HubInspection
) -> Iterator[tuple[str, str]]:
    """(what is wrong, what to do)."""
    file = f"models/{model.name}.yaml"
    config = adapter.documents.get(CONFIG)
    paths = {one.path for one in adapter.model.files}
    if not config or not paths & set(WEIGHTS):
        lacking = CONFIG if not config else WEIGHTS[0]
        yield f"it has no {lacking}: it is no LoRA adapter in PEFT's format", f"correct engine.lora in {file}"
        return
    yield from _of_another_base(lora, config, model)
    rank = rank_of(config)
    if rank > model.engine.max_lora_rank:
        enough = next((allowed for allowed in RANKS if allowed >= rank), None)
        remedy = f"set engine.max_lora_rank: {enough} in {file}" if enough else "train it with a lower rank"
        yield f"its rank is {rank}, engine.max_lora_rank is {model.engine.max_lora_rank}", remedy
    for wrong in _features(config):
        yield (
            f"vLLM does not serve {wrong}",
            "convert it to a plain LoRA adapter with PEFT, or merge it into its base",
        )
    saved = set(config.get("modules_to_save") or ())
    if base.modules and (unknown := sorted(set(adapter.modules) - set(base.modules) - saved)):
        yield (
            f"it adapts {', '.join(unknown)}, which {model.source.repo} does not have",
            f"the adapter is of another model: correct engine.lora or source in {file}",
        )


def _of_another_base(lora: Lora, config: dict[str, Any], model: Model) -> Iterator[tuple[str, str]]:
    said = str(config.get("base_model_name_or_path") or "")
    wanted = model.source.repo if lora.base is None else lora.base
    if said.lower() == wanted.lower():
        return
    named = f"its base is {said}" if said else "adapter_config.json names no base (base_model_name_or_path)"
    instead = f"deploy it with {said} (source.repo); where" if said else "where"
    yield f"{named}, not {wanted}", f"{instead} both are the same weights, say base: '{said}' in engine.lora"


def _features(config: dict[str, Any]) -> Iterator[str]:
    for key, what in NOT_SUPPORTED.items():
        if config.get(key):
            yield what
    init = config.get("init_lora_weights", True)
    if isinstance(init, str) and init.lower() not in INITS:
        yield f"an adapter initialised by {init}, which changes the base's weights (init_lora_weights)"
    if config.get("bias", "none") != "none":
        yield f"a bias ({config['bias']})"
    if saved := [name for name in config.get("modules_to_save") or () if name not in CLASSIFIERS]:
        yield f"whole modules beside the adapter (modules_to_save: {', '.join(saved)})"
