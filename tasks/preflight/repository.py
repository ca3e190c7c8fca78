"""Whether a repo is a whole model vLLM can load: weights, shards, formats, tokenizer. Pure.

What vLLM reads: tasks/records/weights.py. Reports of repos that were not: docs/errors.md, "PreflightFailed".
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from tasks.preflight.config import Config
from tasks.preflight.engine_models import EngineModels
from tasks.preflight.rows import Row
from tasks.records.quantities import human_bytes
from tasks.records.results import HubInspection

POINTER = 1024  # bytes; a safetensors file below that holds no model: a git LFS pointer has 130 or so
TOKENIZERS = re.compile(
    r"(^|/)(tokenizer\.json|tokenizer\.model(\.v\d+)?|tokenizer_config\.json|tekken\.json|vocab\.(json|txt)|merges\.txt"
    r"|spiece\.model|sentencepiece\.bpe\.model|.*\.tiktoken|tokenization_\w+\.py)$"
)
LEFT_OUT = "weights that are second copies"


def judge_repo(inspection: HubInspection, *, quantizations: Sequence[str] = ()) -> Row:
    """Files of the pinned repo. `quantizations`: methods of the image's vLLM, where they are known."""
    checks = (_adapter, _gguf, _missing, _unreadable, _pickles, _none)
    for check in checks:
        if row := check(inspection):
            return row
    model = inspection.model
    weights = len(inspection.weights)
    skipped = f", {len(model.skipped)} left out" if model.skipped else ""
    gated = ", gated: your token is accepted" if model.gated else ""
    return Row(
        "ok",
        f"{model.repo}@{model.commit[:12]}: {len(model.files)} files{skipped}, "
        f"{human_bytes(inspection.weight_bytes)} weights in {weights or 'no'} file{'s' * (weights != 1)}{gated}",
    )


def _adapter(inspection: HubInspection) -> Row | None:
    paths = {file.path for file in inspection.model.files}
    if "adapter_config.json" not in paths or inspection.weights:
        return None
    base = inspection.documents.get("adapter_config.json", {}).get("base_model_name_or_path")
    of = f"of {base}" if base else "of a base model (base_model_name_or_path in adapter_config.json)"
    return Row(
        "fail",
        f"{inspection.model.repo} is a LoRA adapter {of}, not a model: it has adapter_config.json and no weights of its own",
        f"deploy {base or 'the base model'} (source.repo), and serve the adapter with it: engine.lora",
    )


def _gguf(inspection: HubInspection) -> Row | None:
    found = sorted(file.path for file in inspection.model.files if file.path.endswith(".gguf"))
    if not found or inspection.weights:
        return None
    several = f"{len(found)} GGUF files ({', '.join(found[:3])}{', …' * (len(found) > 3)})"
    said = several if len(found) > 1 else f"one GGUF file ({found[0]})"
    return Row(
        "fail",
        f"{inspection.model.repo} has its weights as {said} only: vLLM loads no GGUF from a model's folder",
        "take the repo these were made from (base_model on its page), or one quantised by AWQ, GPTQ or FP8",
    )


def _missing(inspection: HubInspection) -> Row | None:
    if not inspection.missing:
        return None
    names = ", ".join(inspection.missing[:3]) + (", …" if len(inspection.missing) > 3 else "")
    return Row(
        "fail",
        f"{inspection.model.repo}@{inspection.model.commit[:12]} is not whole: {len(inspection.missing)} of its weight files "
        f"{'are' if len(inspection.missing) > 1 else 'is'} not there: {names}",
        "take a revision that has them, or check source.allow and ignore",
    )


def _unreadable(inspection: HubInspection) -> Row | None:
    told = dict(inspection.unreadable)
    for file in inspection.model.files:
        if file.path in inspection.weights and file.path not in told and file.size < POINTER:
            told[file.path] = (
                f"{file.path} has {file.size} bytes: a git LFS pointer or an error page, not weights"
            )
    if not told:
        return None
    more = f" (and {len(told) - 1} more)" if len(told) > 1 else ""
    return Row(
        "fail",
        next(iter(told.values())) + more,
        "take a revision with the real file: whoever uploaded it pushes it again with git lfs installed, or by `hf upload`",
    )


def _pickles(inspection: HubInspection) -> Row | None:
    model = inspection.model
    pickles = model.only_pickles
    if not pickles:
        return None
    # Sizes and dtypes are read from safetensors headers, so nothing here could tell whether it fits.
    more = f" and {len(pickles) - 1} more" if len(pickles) > 1 else ""
    return Row(
        "fail",
        f"{model.repo}@{model.commit[:12]} has its weights in pickles only ({pickles[0]}{more}): reading one can run code, "
        "and what is in it cannot be judged",
        "take a revision with safetensors: https://huggingface.co/spaces/safetensors/convert opens one as a pull request, "
        "then deploy with --revision refs/pr/N",
    )


def _none(inspection: HubInspection) -> Row | None:
    if inspection.weight_bytes:
        return None
    return Row(
        "fail",
        f"{inspection.model.repo} has no weights among the files chosen",
        "check source.allow and ignore",
    )


def judge_tokenizer(
    inspection: HubInspection,
    config: Config,
    models: EngineModels | None,
    *,
    endpoint: str,
    template_given: bool,
    template_file: str | None = None,
) -> Row:
    """A tokenizer, and a chat template where the load asks for chat. `template_given`: --chat-template is set;
    `template_file`: the file of the repo that it is."""
    paths = [file.path for file in inspection.model.files]
    found = [path for path in paths if TOKENIZERS.search(path)]
    if not found:
        return Row(
            "fail",
            f"{inspection.model.repo} has no tokenizer among the files chosen",
            "check source.allow and ignore, or name one by --tokenizer in engine.extra_args",
        )
    if template_file and template_file not in paths:
        return Row(
            "fail",
            f"{inspection.model.repo} has no {template_file}, which engine.chat_template names",
            "correct engine.chat_template, or check source.allow and ignore",
        )
    has = template_given or template_in(inspection, config, models)
    if endpoint == "completions" and not has:
        return Row("ok", f"{found[0]}, no chat template: a base model, asked for completions")
    if endpoint != "chat" or has:
        return Row("ok", f"{found[0]}" + (", chat template" if endpoint == "chat" else ""))
    return Row(
        "fail",
        f"{inspection.model.repo} has no chat template, and the load asks /v1/chat/completions: a base model",
        "set load.endpoint: completions in the model's file, or give a template: engine.chat_template",
    )


def template_in(inspection: HubInspection, config: Config, models: EngineModels | None) -> bool:
    """Whether the repo brings a chat template, or vLLM has one for its model type."""
    paths = {file.path for file in inspection.model.files}
    own = "tekken.json" in paths or any(path.startswith("tokenizer.model.v") for path in paths)
    files = any(path.endswith((".jinja", "chat_template.json")) for path in paths)
    said = bool(inspection.documents.get("tokenizer_config.json", {}).get("chat_template"))
    built_in = models is not None and str(config.top.get("model_type")) in models.chat_templates
    return own or files or said or built_in
