"""Whether the golden prompts can be read, and fit the context."""

from __future__ import annotations

from pathlib import Path

from tasks.preflight.rows import Row
from tasks.records.errors import InvalidDocument
from tasks.records.golden import may_be_too_long, read_golden, too_long
from tasks.records.model import Model
from tasks.records.questions import Task


def judge_answers(model: Model, root: Path) -> Row | None:
    """The row; None for a model without `answers`. Files are below `root`."""
    proof, context, task = model.answers, model.engine.max_model_len, model.engine.task
    if proof is None:
        return None
    try:
        prompts = read_golden(proof, root, task)
    except InvalidDocument as error:
        return Row("fail", error.cause, error.next_command or "")
    mend = (
        f"shorten it in {proof.prompts}, or raise engine.max_model_len"
        if proof.prompts
        else "raise engine.max_model_len"
    )
    if over := [one.name for one in prompts if too_long(one, proof, context, task)]:
        return Row(
            "fail",
            f"{_named(over[0], task)} longer than the context of {context} tokens",
            mend,
        )
    if near := [one.name for one in prompts if may_be_too_long(one, proof, context, task)]:
        return Row(
            "warn", f"golden prompt {near[0]} may be longer than the context of {context} tokens", mend
        )
    return Row("ok", f"{len(prompts)} golden prompts fit the context of {context} tokens")


def _named(prompt: str, task: Task) -> str:
    return (
        f"golden prompt {prompt} and its answer are" if task == "generate" else f"golden prompt {prompt} is"
    )
