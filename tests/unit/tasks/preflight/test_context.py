from __future__ import annotations

from typing import Any

import pytest

from tasks.preflight.arguments import settings_of
from tasks.preflight.config import read_config
from tasks.preflight.context import judge_context, length_of

BASE: dict[str, Any] = {"model_type": "llama", "max_position_embeddings": 4096}


def scaled(rope_type: str, factor: Any = 4.0, **more: Any) -> dict[str, Any]:
    return BASE | {"rope_scaling": {"type": rope_type, "factor": factor, **more}}


@pytest.mark.parametrize(
    ("config", "tokens"),
    [
        (BASE, 4096),
        (scaled("linear"), 16384),
        (scaled("dynamic"), 16384),
        (scaled("ntk"), 16384),
        (scaled("linear", None), 4096),
        (scaled("yarn"), 4096),
        (scaled("llama3"), 4096),
        (scaled("longrope"), 4096),
        (scaled("su"), 4096),
        (scaled("mrope"), 16384),  # read as `default`, whose factor counts
        (scaled("linear") | {"model_type": "gemma3_text"}, 4096),
        (BASE | {"rope_parameters": {"rope_type": "linear", "factor": 2.0}}, 8192),
        (BASE | {"rope_parameters": {"full_attention": {"rope_type": "linear", "factor": 8.0}}}, 32768),
        ({"model_type": "gpt2", "n_positions": 1024}, 1024),
        ({"model_type": "chatglm", "seq_length": 8192}, 8192),
        (BASE | {"model_max_length": 2048}, 2048),
        ({"model_type": "llama"}, 2048),  # the class's own default
        ({"model_type": "of-nobody"}, float("inf")),
        ({"model_type": "qwen2_5_vl", "text_config": BASE}, 4096),
        # positions of these begin after the padding's
        ({"model_type": "xlm-roberta", "max_position_embeddings": 514, "pad_token_id": 1}, 512),
        ({"model_type": "bert", "max_position_embeddings": 512}, 512),
    ],
)
def test_how_long_a_model_is(config: dict[str, Any], tokens: float) -> None:
    assert length_of(read_config(config), settings_of(["/m"])).tokens == tokens


def test_versions_that_multiply_yarn_take_more() -> None:
    old = ("su", "longrope", "llama3")
    assert length_of(read_config(scaled("yarn")), settings_of(["/m"]), old).tokens == 16384
    made_for = scaled("yarn", 40, original_max_position_embeddings=4096) | {"max_position_embeddings": 163840}
    assert length_of(read_config(made_for), settings_of(["/m"]), old).tokens == 163840


def test_a_window_switched_off_bounds_the_length() -> None:
    config = read_config({"model_type": "mistral", "max_position_embeddings": 32768, "sliding_window": 4096})
    assert length_of(config, settings_of(["/m", "--disable-sliding-window"])).tokens == 4096
    assert length_of(config, settings_of(["/m"])).tokens == 32768


@pytest.mark.parametrize(
    ("config", "flags", "status"),
    [
        (BASE, ["--max-model-len=4096"], "ok"),
        (BASE, ["--max-model-len=4097"], "fail"),
        (BASE, ["--max-model-len=4k"], "ok"),
        (BASE, ["--max-model-len=4K"], "ok"),
        (BASE, ["--max-model-len=8K"], "fail"),
        (BASE, ["--max-model-len=auto"], "ok"),
        (BASE, ["--max-model-len=8192", '--hf-overrides={"max_position_embeddings": 8192}'], "ok"),
        (BASE, ["--max-model-len=8192", "--hf-overrides.max_position_embeddings=8192"], "ok"),
        (
            BASE,
            ["--max-model-len=8192", '--hf-overrides={"rope_scaling": {"type": "linear", "factor": 2}}'],
            "ok",
        ),
        (
            BASE,
            ["--max-model-len=8192", '--hf-overrides={"rope_scaling": {"type": "yarn", "factor": 2}}'],
            "fail",
        ),
    ],
)
def test_max_model_len_against_the_models_length(
    config: dict[str, Any], flags: list[str], status: str
) -> None:
    settings = settings_of(["/m", *flags])
    row = judge_context(read_config(config, settings.overrides), settings, "0.32.0")
    assert row.status == status
    assert row.next_command or status == "ok"


def test_the_length_of_sentence_transformers_bounds_what_the_model_takes() -> None:
    """`encoder_config` in `_get_and_verify_max_len` of vLLM 0.32.0."""
    config = read_config({"model_type": "bert", "max_position_embeddings": 512})
    settings = settings_of(["m", "--max-model-len=512"])
    row = judge_context(config, settings, "0.32.0", sentence=256)
    assert (row.status, "256 (max_seq_length of sentence-transformers)" in row.detail) == ("fail", True)
    assert row.next_command == "set engine.max_model_len to 256 or less"
