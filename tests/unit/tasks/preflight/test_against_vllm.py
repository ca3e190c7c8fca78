"""The arithmetic held against what vLLM 0.32.0 itself made of the same config.json and flags.

recorded/vllm-0.32.0.json says how it was recorded. KV cache bytes are equal to the byte; settings of a batch too.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tasks.preflight.arguments import settings_of
from tasks.preflight.config import read_config
from tasks.preflight.dtypes import served_dtype
from tasks.preflight.gpus import Gpu
from tasks.preflight.kv_cache import Limits, pools
from tasks.preflight.memory import Plan, plan

RECORDED = json.loads((Path(__file__).with_name("recorded") / "vllm-0.32.0.json").read_text("utf-8"))[
    "models"
]
ENCODERS = ("e5-large", "modernbert")


def planned(recorded: dict[str, Any]) -> Plan:
    settings = settings_of(["/m", *recorded["arguments"]])
    config = read_config(recorded["config"], settings.overrides)
    gpu = Gpu(recorded["gpu"]["name"], recorded["gpu"]["memory"] * 2**20, recorded.get("capability", 89))
    return plan(config, {}, settings, gpu, longest=recorded["max_model_len"])


@pytest.mark.parametrize("recorded", RECORDED, ids=lambda one: one["name"])
def test_a_request_takes_the_bytes_vllm_reckons_with(recorded: dict[str, Any]) -> None:
    found = planned(recorded)
    settings = found.settings
    limits = Limits(
        recorded["batch"], recorded["in_flight"], found.pool.limits.hybrid, found.pool.limits.prefix_caching
    )
    stage = recorded["rank"] // settings.tensor
    pool = pools(found.layers, settings.pipeline, limits, latent=found.config.is_latent)[stage]
    assert {length: pool.needed(int(length)) for length in recorded["needed"]} == recorded["needed"]


@pytest.mark.parametrize(
    "recorded", [one for one in RECORDED if one["name"] not in ENCODERS], ids=lambda one: one["name"]
)
def test_a_step_takes_as_many_tokens_as_vllm_chooses(recorded: dict[str, Any]) -> None:
    found = planned(recorded)
    assert (found.batch, found.in_flight) == (recorded["batch"], recorded["in_flight"])


@pytest.mark.parametrize("recorded", RECORDED, ids=lambda one: one["name"])
def test_the_dtype_is_the_one_vllm_chooses(recorded: dict[str, Any]) -> None:
    settings = settings_of(["/m", *recorded["arguments"]])
    pooling = recorded["name"] in ENCODERS  # vLLM knows by the architecture that these pool
    settings = settings if not pooling else settings_of(["/m", "--runner=pooling"])
    assert (
        served_dtype(read_config(recorded["config"]), settings, recorded.get("capability", 89))
        == recorded["dtype"]
    )


# Bytes of the real repos' tensors by dtype, and the recorded ranks they were loaded on.
WHOLE = [
    ("llama-70b-tp2", {"BF16": 141_107_412_992}),
    ("llama-70b-tp8", {"BF16": 141_107_412_992}),
    ("llama-70b-tp16", {"BF16": 141_107_412_992}),
    ("llama-70b-pp4-r0", {"BF16": 141_107_412_992}),
    ("llama-70b-pp3-r0", {"BF16": 141_107_412_992}),
    ("llama-70b-tp2-pp2", {"BF16": 141_107_412_992}),
    ("qwen3-30b-tp4", {"BF16": 61_064_245_248}),
    ("qwen3-30b-ep4", {"BF16": 61_064_245_248}),
    ("qwen3-30b-dp2", {"BF16": 61_064_245_248}),
    ("mixtral-tp2", {"BF16": 93_405_585_408}),
    ("deepseek-v2-lite", {"BF16": 31_412_968_448}),
    ("deepseek-v2-lite-tp2", {"BF16": 31_412_968_448}),
    ("gpt-oss-20b", {"BF16": 3_608_000_000, "U8": 10_150_000_000}),
    ("gpt-oss-120b-tp4", {"BF16": 4_331_000_000, "U8": 60_890_000_000}),
    ("llama-8b-f32kv", {"F32": 32_121_044_992}),
]


@pytest.mark.parametrize(("name", "stored"), WHOLE, ids=[name for name, _ in WHOLE])
def test_the_fullest_gpu_holds_what_vllm_loads_there_within_two_percent(
    name: str, stored: dict[str, int]
) -> None:
    recorded = next(one for one in RECORDED if one["name"] == name)
    settings = settings_of(["/m", *recorded["arguments"]])
    gpu = Gpu(recorded["gpu"]["name"], recorded["gpu"]["memory"] * 2**20, 89)
    found = plan(read_config(recorded["config"]), stored, settings, gpu)
    assert found.weights.total == pytest.approx(recorded["weights"], rel=0.02)
