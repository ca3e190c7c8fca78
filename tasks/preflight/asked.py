"""How a model is asked where its file does not say: a base model was not taught to chat, another sees images. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from tasks.preflight.arguments import CommandLine
from tasks.preflight.config import Config, read_config
from tasks.preflight.engine_models import models_of
from tasks.preflight.images import vllm_version
from tasks.preflight.repository import template_in
from tasks.records.model import Model
from tasks.records.results import HubInspection


def asked(model: Model, inspection: HubInspection) -> Model:
    """The model, asked for completions where its repo has no chat template, and about an image where it sees."""
    version = vllm_version(model.engine.image)
    models = models_of(version) if version else None
    line = CommandLine(("MODEL", *model.engine.extra_args))
    config = read_config(inspection.config)
    given = line.text("--chat-template") or model.engine.chat_template
    if not given and not template_in(inspection, config, models):
        return model.asked_by("completions")
    return model.asked_about_images() if sees(config, line) else model


def sees(config: Config, line: CommandLine) -> bool:
    """Whether the repo has an encoder of images, and the flags let it have one."""
    limit = line.document("--limit-mm-per-prompt").get("image", 1)
    most = limit.get("count", 1) if isinstance(limit, Mapping) else limit
    encodes = isinstance(config.top.get("vision_config"), Mapping)
    return encodes and most != 0 and not line.switch("--language-model-only")
