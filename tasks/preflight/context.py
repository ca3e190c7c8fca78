"""How many tokens a model takes, as vLLM derives it from config.json. Pure.

Follows `_get_and_verify_max_len` in vLLM 0.32.0, vllm/config/model.py: the smallest length config.json gives, times the factor of
its rope scaling unless that type has it counted in already. Which types those are is read from each version's wheel.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tasks.preflight.arguments import Settings
from tasks.preflight.config import Config
from tasks.preflight.rows import Row

# Of vLLM 0.32.0; `rope_not_scaled` of a version's table says it for the others.
NOT_SCALED = ("su", "longrope", "llama3", "yarn", "deepseek_yarn", "deepseek_llama_scaling")

ALLOW_LONGER = "VLLM_ALLOW_LONG_MAX_MODEL_LEN"
ROBERTAS = ("roberta", "xlm-roberta", "xlm-roberta-xl", "camembert")


@dataclass(frozen=True)
class Length:
    """`tokens` may be inf; `key`: where config.json says it; `factor` is counted in; `scaling`: rope type, "" for none."""

    tokens: float
    key: str
    factor: float = 1.0
    scaling: str = ""
    allowed: float = 0.0


def rope_parts(config: Config) -> Iterator[Mapping[str, Any]]:
    """The rope parameters, of each kind of layer where config.json gives them apart."""
    said = config.text.get("rope_parameters") or config.text.get("rope_scaling")
    if not isinstance(said, Mapping):
        return
    nested = [value for value in said.values() if isinstance(value, Mapping)]
    yield from nested or [said]


def rope_type(part: Mapping[str, Any]) -> str:
    """The type under its present name."""
    said = str(part.get("rope_type") or part.get("type") or "default")
    return {"su": "longrope", "mrope": "default"}.get(said, said)


def length_of(
    config: Config,
    settings: Settings,
    not_scaled: tuple[str, ...] = NOT_SCALED,
    sentence: int | None = None,
) -> Length:
    """The most tokens the model takes. `sentence`: max_seq_length of sentence-transformers, which vLLM follows."""
    tokens, key = config.positions
    if config.model_type in ROBERTAS:
        # their positions begin after the padding's: vllm/model_executor/models/roberta.py. vLLM itself does not look
        tokens, key = tokens - config.number("pad_token_id") - 1, f"{key} after the padding's"
    if sentence:
        return Length(min(tokens, sentence), "max_seq_length of sentence-transformers")
    window = config.window
    if not settings.sliding_window and window and window < tokens:
        tokens, key = window, "sliding_window, with --disable-sliding-window"
    factor, scaling = 1.0, ""
    for part in rope_parts(config):
        scaling = rope_type(part) if rope_type(part) != "default" else scaling
        if rope_type(part) not in not_scaled and isinstance(part.get("factor"), int | float):
            factor = float(part["factor"])
            original = part.get("original_max_position_embeddings")
            if rope_type(part) == "yarn" and isinstance(original, int):  # up to vLLM 0.29
                tokens, key = original, "original_max_position_embeddings"
    if "gemma3" in config.model_type:  # its length is scaled already
        factor = 1.0
    # a longer model_max_length allows what the derived length would not
    allowed = config.text.get("model_max_length")
    return Length(
        tokens * factor, key, factor, scaling, float(allowed) if isinstance(allowed, int | float) else 0.0
    )


def judge_context(
    config: Config,
    settings: Settings,
    version: str,
    not_scaled: tuple[str, ...] = NOT_SCALED,
    sentence: int | None = None,
    *,
    longer: bool = False,
) -> Row:
    """max_model_len against the model's length. `longer`: VLLM_ALLOW_LONG_MAX_MODEL_LEN is set."""
    length = length_of(config, settings, not_scaled, sentence)
    wanted = settings.max_model_len
    if length.tokens == float("inf"):
        return Row("ok", f"{wanted:,} tokens" if wanted else "vLLM's default of 2,048 tokens")
    most = int(length.tokens)
    said = f"{most:,} ({length.key}" + (
        f" x {length.factor:g}, rope {length.scaling})" if length.factor != 1 else ")"
    )
    if wanted is None:
        return Row("ok", f"{said} tokens, as vLLM derives it")
    if wanted <= max(most, length.allowed):
        return Row("ok", f"{wanted:,} tokens of the model's {said}")
    if longer:
        return Row(
            "warn",
            f"max_model_len {wanted} is more than the model's {said} positions, and {ALLOW_LONGER} lets it: answers to long "
            "requests may be wrong, or end the engine where positions are looked up",
            "",
        )
    why = ""
    remedy = f"set engine.max_model_len to {most} or less"
    if length.scaling in not_scaled and length.factor == 1 and length.scaling:
        why = f"; rope scaling {length.scaling} is not multiplied in by vLLM {version}"
        if more := _scaled(config, most):
            remedy += f', or raise the limit: --hf-overrides={{"max_position_embeddings": {more}}} in engine.extra_args'
    return Row("fail", f"max_model_len {wanted} is more than the model's {said} positions{why}", remedy)


def _scaled(config: Config, most: int) -> int | None:
    """What the model was made for by its yarn scaling, where that is more than its positions say."""
    for part in rope_parts(config):
        factor, original = part.get("factor"), part.get("original_max_position_embeddings")
        if rope_type(part) != "yarn" or not isinstance(factor, int | float) or not isinstance(original, int):
            continue
        if (made_for := int(factor * original)) > most:
            return made_for
    return None
