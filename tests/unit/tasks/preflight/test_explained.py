"""The memory sum, line by line: what it says of each family, and that it adds up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tasks.preflight.arguments import settings_of
from tasks.preflight.config import read_config
from tasks.preflight.explained import Line, explained, rendered
from tasks.preflight.gpus import gpu_of
from tasks.preflight.memory import Plan, plan

GIB, MIB = 2**30, 2**20
RECORDED = json.loads((Path(__file__).with_name("recorded") / "vllm-0.32.0.json").read_text("utf-8"))[
    "models"
]


def planned(name: str, *flags: str, stored: dict[str, int] | None = None, gpu: str = "NVIDIA L40S") -> Plan:
    one: dict[str, Any] = next(each for each in RECORDED if each["name"] == name)
    settings = settings_of(["/m", *one["arguments"], *flags])
    config = read_config(one["config"], settings.overrides)
    return plan(config, stored or {"BF16": 16 * GIB}, settings, gpu_of(gpu, 45_776 * MIB))


def text_of(name: str, *flags: str, **more: Any) -> str:
    return rendered(explained(planned(name, *flags, **more)))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("llama-8b", ["32 of 32 layers", "keep keys and values of every token: 4,096 B a token each"]),
        ("gemma2-9b", ["21 of 42 layers", "keep a window of 4,096 tokens and those in flight"]),
        (
            "deepseek-v2-lite-tp2",
            ["keep one latent vector a token: 1,152 B a token each, the same on every rank"],
        ),
        ("llama4-scout-tp4", ["36 of 48 layers", "keep a chunk of 8,192 tokens"]),
        (
            "nemotron-nano-9b",
            ["27 of 56 layers", "keep a state, whatever the length (3 copies", "25 of 56 layers"],
        ),
        ("gemma3n", ["15 of 35 layers", "keep nothing of their own"]),
        (
            "llama-70b-pp3-r0",
            ["layers 0 to 26 of 80", "shared over pipeline 3", "embedding and longest stage"],
        ),
        ("mistral-7b-default-window", ["not in config.json, the default of model type mistral"]),
        ("whisper", ["keep keys and values of the encoder's 1,500 tokens"]),
        ("modernbert", ["an encoder keeps no cache"]),
        ("gpt-oss-20b", ["12 of 24 layers", "2 groups of layers in blocks of 393,216 B"]),
    ],
)
def test_what_the_sum_says_of_a_family(name: str, said: list[str]) -> None:
    text = text_of(name)
    assert [words for words in said if words not in text] == []


def test_the_lines_add_up_to_what_is_left() -> None:
    lines = explained(planned("gemma2-9b"))
    amounts = {
        line.what: float(line.amount.removesuffix(" GiB").replace(",", ""))
        for line in lines
        if "GiB" in line.amount
    }
    taken = sum(amount for what, amount in amounts.items() if what.startswith("- "))
    budget = amounts["memory CUDA shows"] * 0.92
    assert budget - taken == pytest.approx(amounts["= left for the KV cache"], abs=0.05)


def test_a_quantised_model_is_told_with_its_method_and_padding() -> None:
    text = text_of("gpt-oss-20b", stored={"BF16": 3_608_000_000, "U8": 10_150_000_000})
    assert "mxfp4" in text
    assert "padding of the experts' MXFP4 kernels" in text


def test_what_is_offloaded_is_given_back() -> None:
    assert "+ offloaded to the CPU" in text_of("llama-8b", "--cpu-offload-gb=4")


@pytest.mark.parametrize(("length", "said"), [(8192, "fits"), (131_072, "fits"), (1_000_000, "does not fit")])
def test_the_last_line_says_whether_it_fits(length: int, said: str) -> None:
    text = text_of("llama-8b", f"--max-model-len={length}")
    assert f"max_model_len {length:,} {said}" in text


def test_columns_stand_below_one_another() -> None:
    text = rendered([Line("Head"), Line("a", "1 B", "how"), Line("longer", "22 B")])
    assert text.splitlines() == ["Head", "  a                  1 B  how", "  longer            22 B"]
