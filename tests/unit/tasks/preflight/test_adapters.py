"""LoRA adapters against their base and the engine's limits, as a table."""

from __future__ import annotations

from typing import Any

import pytest

from tasks.preflight.adapters import RANKS, judge_adapters
from tasks.records.model import Model
from tasks.records.results import HubFile, HubInspection, HubModel
from tests.support.builders import COMMIT, a_model, an_inspection

BASE = "meta-llama/Llama-3.1-8B-Instruct"
PLAIN = {
    "base_model_name_or_path": BASE,
    "r": 16,
    "lora_alpha": 32,
    "target_modules": ["q_proj"],
    "bias": "none",
}


def an_adapter(
    config: dict[str, Any] | None,
    *,
    weights: str = "adapter_model.safetensors",
    modules: tuple[str, ...] = ("q_proj",),
) -> HubInspection:
    files = (HubFile(path="adapter_config.json", size=500), HubFile(path=weights, size=2 << 20))
    return HubInspection(
        model=HubModel(repo="acme/polite", commit=COMMIT, gated=False, files=files),
        config={},
        tensor_bytes={"BF16": 2 << 20},
        documents={"adapter_config.json": config} if config else {},
        modules=modules,
    )


def judged(adapter: HubInspection, **engine: Any) -> Any:
    lora = {"name": "polite", "repo": "acme/polite"} | engine.pop("lora", {})
    model: Model = a_model(engine={"lora": [lora]} | engine)
    base = an_inspection().model_copy(
        update={"modules": ("k_proj", "lm_head", "q_proj", "v_proj"), "adapters": (adapter,)}
    )
    return judge_adapters(model, base)


def test_one_that_fits_is_told_with_its_rank_modules_and_bytes() -> None:
    row = judged(an_adapter(PLAIN))
    assert row.status == "ok"
    assert row.detail == "polite of rank 16 on q_proj (2.0 MiB); 1 at a time, ranks up to 16"


def test_a_model_without_adapters_has_no_row() -> None:
    assert judge_adapters(a_model(), an_inspection()) is None


@pytest.mark.parametrize(
    ("over", "engine", "said", "remedy"),
    [
        ({"base_model_name_or_path": "acme/other"}, {}, f"its base is acme/other, not {BASE}", "base: 'acme/other'"),
        ({"base_model_name_or_path": None}, {}, "names no base", "base: ''"),
        ({"r": 64}, {}, "its rank is 64, engine.max_lora_rank is 16", "engine.max_lora_rank: 64"),
        ({"r": 24}, {}, "its rank is 24", "engine.max_lora_rank: 32"),
        ({"rank_pattern": {"q_proj": 128}}, {"max_lora_rank": 64}, "its rank is 128", "max_lora_rank: 128"),
        ({"r": 1024}, {}, "its rank is 1024", "lower rank"),
        ({"use_dora": True}, {}, "does not serve DoRA", "PEFT"),
        ({"bias": "all"}, {}, "does not serve a bias", "PEFT"),
        ({"init_lora_weights": "pissa"}, {}, "initialised by pissa", "PEFT"),
        ({"modules_to_save": ["embed_tokens"]}, {}, "modules_to_save: embed_tokens", "PEFT"),
    ],
)  # fmt: skip
def test_one_that_vllm_refuses_is_refused_with_what_would_work(
    over: dict[str, Any], engine: dict[str, Any], said: str, remedy: str
) -> None:
    row = judged(an_adapter(PLAIN | over), **engine)
    assert row.status == "fail"
    assert said in row.detail
    assert remedy in row.next_command


def test_another_name_of_the_same_base_is_taken_where_the_file_says_so() -> None:
    adapter = an_adapter(PLAIN | {"base_model_name_or_path": "/home/me/llama"})
    assert judged(adapter, lora={"base": "/home/me/llama"}).status == "ok"
    assert judged(an_adapter(PLAIN | {"base_model_name_or_path": ""}), lora={"base": ""}).status == "ok"


@pytest.mark.parametrize(
    ("adapter", "said"),
    [
        (an_adapter(None), "it has no adapter_config.json"),
        (an_adapter(PLAIN, weights="model.safetensors"), "it has no adapter_model.safetensors"),
        (an_adapter(PLAIN, modules=("q_proj", "Wqkv")), "it adapts Wqkv, which"),
    ],
)
def test_what_is_no_adapter_of_this_model_is_refused(adapter: HubInspection, said: str) -> None:
    row = judged(adapter)
    assert row.status == "fail"
    assert said in row.detail


def test_a_harmless_initialisation_is_taken() -> None:
    assert judged(an_adapter(PLAIN | {"init_lora_weights": "gaussian"})).status == "ok"


def test_the_ranks_are_those_of_the_engine() -> None:
    assert RANKS == (1, 8, 16, 32, 64, 128, 256, 320, 512)
