"""Whether the image's vLLM can serve this model at all: its architecture, its configuration class, its code. Pure.

Follows vLLM 0.32.0: `_ModelRegistry.inspect_model_cls` in vllm/model_executor/models/registry.py, `_SUFFIX_TO_DEFAULTS` in
vllm/config/model.py; and `resolve_trust_remote_code` of transformers: code of the repo is asked for where the model type is not known.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from typing import Any

from tasks.preflight.config import Config, defaults_of, transformers_architectures
from tasks.preflight.engine_models import EngineModels
from tasks.preflight.rows import Row
from tasks.records.questions import Task

# How a class's name ends, and what vLLM makes of a model of that name: a base model it knows is adapted to pooling.
POOLING_ENDS = (
    "ForSequenceClassification",
    "ForTokenClassification",
    "ForTextEncoding",
    "EmbeddingModel",
    "ForRewardModeling",
    "RewardModel",
    "ClassificationModel",
    "Model",
)
GENERATING_ENDS = ("ForCausalLM", "ForConditionalGeneration", "LMHeadModel", "ChatModel")
# `enable_scoring_api` in vllm/entrypoints/pooling/utils.py: of these it scores by the one label
CLASSIFYING_ENDS = ("ForSequenceClassification", "ForTokenClassification")
_DOES: Mapping[Task, str] = {"generate": "generates text", "embed": "embeds", "score": "scores"}


def judge_architecture(
    config: Config,
    models: EngineModels | None,
    unchecked: str,
    *,
    trust_remote_code: bool,
    pooling: bool,
    task: Task,
    files: Collection[str],
) -> Row:
    """`pooling`: --runner says so; `task`: engine.task; `files`: paths of the repo, none where not known."""
    name = config.architecture
    if not name:
        return Row("warn", "not checked: config.json names no architectures")
    if models is None:
        return Row("warn", unchecked)
    if found := _code(config, trust_remote_code, files):
        return found
    if found := _unsupported(config, models, trust_remote_code=trust_remote_code):
        return found
    does = task_of(name, models, pooling=pooling)
    if found := _of_another_task(config, models, task, does):
        return found
    said = f"{name} {_DOES[task]} in vLLM {models.version}"
    if not models.known(name) and not _adapted(name, models):
        return Row(
            "warn",
            f"vLLM {models.version} has no {name} of its own: it runs the one of transformers, if that allows it, slower; "
            "its KV cache is counted as if every layer kept every token",
            "take a model of the list: https://docs.vllm.ai/en/latest/models/supported_models.html",
        )
    return Row("ok", said)


def _of_another_task(config: Config, models: EngineModels, task: Task, does: str) -> Row | None:
    """A pooling model that is asked for text, a classifier for vectors, a classifier of several labels for scores."""
    name = config.architecture
    if task == "generate":
        if does == "generate":
            return None
        meant = "score" if name.endswith(CLASSIFYING_ENDS) else "embed"
        return Row(
            "fail",
            f"{name} is a pooling model: vLLM {models.version} gives it no /v1/completions and no /v1/chat/completions",
            f"set engine.task: {meant} in the model's file, or take a model that generates text",
        )
    if not name.endswith(CLASSIFYING_ENDS):
        return None
    if task == "embed":
        return Row(
            "fail",
            f"{name} classifies: vLLM {models.version} gives it no /v1/embeddings",
            "set engine.task: score in the model's file, or take an embedding model",
        )
    if name.endswith("ForTokenClassification") or (labels := labels_of(config)) != 1:
        why = "each token" if name.endswith("ForTokenClassification") else f"{labels} labels"
        return Row(
            "fail",
            f"{name} classifies {why}: vLLM {models.version} serves /v1/score and /v1/rerank only for models of one label",
            "take a reranker, whose config.json has one label",
        )
    return None


def labels_of(config: Config) -> int:
    """`num_labels` of transformers' configuration: the entries of id2label, two where nothing says otherwise."""
    named = config.top.get("id2label")
    # of Qwen3's own rerankers vLLM makes one label from two words (`classifier_from_token`)
    if config.top.get("classifier_from_token"):
        return 1
    if isinstance(named, Mapping):
        return len(named)
    said = config.top.get("num_labels")
    return int(said) if isinstance(said, int) else 2


def task_of(architecture: str, models: EngineModels, *, pooling: bool = False) -> str:
    """generate or pooling: by the registry, else by the end of the name."""
    if pooling or architecture in models.pooling:
        return "pooling"
    if architecture in models.generate or architecture.endswith(GENERATING_ENDS):
        return "generate"
    return "pooling" if architecture.endswith(POOLING_ENDS) else "generate"


def _adapted(architecture: str, models: EngineModels) -> bool:
    """Whether vLLM makes it from a base model it knows: LlamaForSequenceClassification from LlamaForCausalLM."""
    for end in (*POOLING_ENDS, *GENERATING_ENDS):
        if architecture.endswith(end):
            stem = architecture.removesuffix(end)
            return any(models.known(stem + other) for other in (*GENERATING_ENDS, *POOLING_ENDS))
    return False


def _unsupported(config: Config, models: EngineModels, *, trust_remote_code: bool) -> Row | None:
    name = config.architecture
    if models.known(name):
        return None
    if last := models.removed.get(name):
        return Row(
            "fail",
            f"{name} is not in vLLM {models.version}: {last} was the last version that had it",
            f"set engine.image: vllm/vllm-openai:v{last}",
        )
    if plugin := models.plugin.get(name):
        return Row(
            "fail",
            f"{name} is not in vLLM {models.version}: it comes as a plugin, {plugin}",
            "build an image with the plugin and name it in engine.image",
        )
    if name in models.draft:
        return Row(
            "fail",
            f"{name} is a draft model for speculative decoding, not one to serve",
            "deploy its target model, with this one in --speculative-config",
        )
    own_code = trust_remote_code and "AutoModel" in " ".join(_auto_map(config))
    if name in transformers_architectures() or own_code or _adapted(name, models):
        return None
    near = difflib.get_close_matches(name, [*models.generate, *models.pooling], 1, 0.8)
    meant = f"; the nearest it has is {near[0]}" if near else ""
    return Row(
        "fail",
        f"vLLM {models.version} does not know the architecture {name}{meant}",
        "take a newer engine.image, or a model of the list: https://docs.vllm.ai/en/latest/models/supported_models.html",
    )


def _auto_map(config: Config) -> Mapping[str, Any]:
    found = config.top.get("auto_map")
    return found if isinstance(found, Mapping) else {}


def _code(config: Config, trust_remote_code: bool, files: Collection[str]) -> Row | None:
    """The code that comes with a repo whose model type nobody knows."""
    top = str(config.top.get("model_type") or "")
    if top and defaults_of(top) is not None:
        return None
    wanted = [str(value) for value in _auto_map(config).values() if isinstance(value, str)]
    if not wanted:
        return None if _has_own_reader(config) else _unknown_type(top)
    elsewhere = [each for each in wanted if "--" in each]
    if elsewhere:
        repo = elsewhere[0].partition("--")[0]
        return Row(
            "fail",
            f"its code is in another repo ({elsewhere[0]} in auto_map), which is not staged, and pods run offline",
            f"take a repo that has its code itself, or copy the files of {repo} into one of your own",
        )
    if not trust_remote_code:
        return Row(
            "fail",
            f"model_type {top or 'is missing'}: vLLM needs the repo's own code for it ({wanted[0]} in auto_map)",
            "read that code, then set engine.trust_remote_code: true",
        )
    needed = {f"{each.rpartition('.')[0].replace('.', '/')}.py" for each in wanted}
    if files and (lacking := sorted(needed - set(files))):
        return Row(
            "fail",
            f"auto_map names {lacking[0]}, which is not among the files",
            "check source.allow and ignore",
        )
    return None


def _has_own_reader(config: Config) -> bool:
    """Model types vLLM reads by the architecture's name (`_ARCHITECTURE_TO_MODEL_TYPE`)."""
    return config.architecture.startswith("Longcat")


def _unknown_type(model_type: str) -> Row | None:
    said = f"model_type {model_type}" if model_type else "config.json has no model_type"
    return Row(
        "fail" if model_type else "warn",
        f"{said}: neither transformers nor vLLM knows it, and the repo brings no code (auto_map)",
        "take a newer engine.image, or a repo that names a known model_type",
    )
