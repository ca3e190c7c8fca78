"""By which route a model is asked where its file names none: a base model was not taught to chat. Pure."""

from __future__ import annotations

from tasks.preflight.arguments import CommandLine
from tasks.preflight.config import read_config
from tasks.preflight.engine_models import models_of
from tasks.preflight.images import vllm_version
from tasks.preflight.repository import template_in
from tasks.records.model import Model
from tasks.records.results import HubInspection


def asked(model: Model, inspection: HubInspection) -> Model:
    """The model, asked for completions where its repo has no chat template."""
    version = vllm_version(model.engine.image)
    models = models_of(version) if version else None
    given = CommandLine(("MODEL", *model.engine.extra_args)).text("--chat-template")
    has = bool(given) or template_in(inspection, read_config(inspection.config), models)
    return model if has else model.asked_by("completions")
