"""The models of this project against the instances their files name, by the configs vLLM 0.32.0 was recorded with."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tasks.preflight.engine import Engine
from tasks.preflight.nodes import MIB, InstanceType
from tasks.records.abilities import abilities_of
from tasks.records.catalogue import load_model
from tasks.rollout.manifests import serving
from tasks.rollout.weights import Weights
from tests.support.builders import ROOT, a_cache, an_environment, an_inspection

GIB = 2**30
RECORDED = json.loads((ROOT / "tests/unit/tasks/preflight/recorded/vllm-0.32.0.json").read_text())["models"]
# memory as EC2 names it, vCPUs and RAM: https://aws.amazon.com/ec2/instance-types/g5/ and /g6e/
G5_12XLARGE = InstanceType("g5.12xlarge", 48, 192 * GIB, 4, 22_888 * MIB, "NVIDIA A10G", 58, ("x86_64",))
G6E_48XLARGE = InstanceType("g6e.48xlarge", 192, 1536 * GIB, 8, 45_776 * MIB, "NVIDIA L40S", 58, ("x86_64",))
A10G = InstanceType("g5.xlarge", 4, 16 * GIB, 1, 22_888 * MIB, "NVIDIA A10G", 58, ("x86_64",))
L4 = InstanceType("g6.2xlarge", 8, 32 * GIB, 1, 22_888 * MIB, "NVIDIA L4", 58, ("x86_64",))
L40S = InstanceType("g6e.2xlarge", 8, 64 * GIB, 1, 45_776 * MIB, "NVIDIA L40S", 58, ("x86_64",))
# TheBloke/Mistral-7B-Instruct-v0.2-AWQ and mistralai/Mistral-Small-24B-Base-2501, as their config.json on the hub say
MISTRAL = {
    "architectures": ["MistralForCausalLM"],
    "model_type": "mistral",
    "head_dim": 128,
    "max_position_embeddings": 32768,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "sliding_window": None,
    "torch_dtype": "bfloat16",
}
MISTRAL_AWQ = MISTRAL | {
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "quantization_config": {
        "quant_method": "awq", "bits": 4, "group_size": 128, "version": "gemm", "zero_point": True
    },
    "vocab_size": 32000,
}  # fmt: skip
MISTRAL_SMALL = MISTRAL | {
    "hidden_size": 5120,
    "intermediate_size": 32768,
    "num_hidden_layers": 40,
    "vocab_size": 131072,
}
E5_LARGE = {
    "architectures": ["XLMRobertaModel"],
    "model_type": "xlm-roberta",
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_attention_heads": 16,
    "num_hidden_layers": 24,
    "max_position_embeddings": 514,
    "pad_token_id": 1,
    "type_vocab_size": 1,
    "vocab_size": 250002,
}


def config_of(name: str) -> dict[str, Any]:
    return next(dict(one["config"]) for one in RECORDED if one["name"] == name)


def judged(name: str, config: dict[str, Any], weights: int, instance: InstanceType) -> Engine:
    model = load_model(name, ROOT)
    documents = serving(ROOT, model, an_environment(), Weights.of(a_cache(), weights))
    return Engine(model, an_inspection(config, weights), instance, documents)


@pytest.mark.parametrize(
    ("name", "recorded", "weights", "instance"),
    [
        ("qwen3-14b", "qwen3-14b", 29_536_614_400, G5_12XLARGE),
        ("llama-3-3-70b-instruct", "llama-70b-tp8", 141_107_412_992, G6E_48XLARGE),
    ],
)
def test_a_model_of_several_gpus_fits_the_instance_its_file_names(
    name: str, recorded: str, weights: int, instance: InstanceType
) -> None:
    engine = judged(name, config_of(recorded), weights, instance)
    for row in (
        engine.architecture(),
        engine.memory(),
        engine.context(),
        engine.lint(),
        engine.compute(),
        engine.ranks(),
    ):
        assert row.status == "ok", row


def test_an_encoder_keeps_no_cache_and_fits_the_smallest_gpu() -> None:
    t4 = InstanceType("g4dn.xlarge", 4, 16 * GIB, 1, 16_384 * MIB, "NVIDIA T4", 29, ("x86_64",))
    engine = judged("multilingual-e5-large", E5_LARGE, 1_119_780_864, t4)
    for row in (engine.architecture(), engine.memory(), engine.context(), engine.lint(), engine.compute()):
        assert row.status == "ok", row
    assert "the model keeps no KV cache" in engine.memory().detail
    assert "512 tokens of the model's 512" in engine.context().detail


def test_a_reranker_takes_8192_tokens_on_the_smallest_gpu() -> None:
    t4 = InstanceType("g4dn.xlarge", 4, 16 * GIB, 1, 16_384 * MIB, "NVIDIA T4", 29, ("x86_64",))
    config = E5_LARGE | {
        "architectures": ["XLMRobertaForSequenceClassification"],
        "max_position_embeddings": 8194,
        "id2label": {"0": "LABEL_0"},
    }
    engine = judged("bge-reranker-v2-m3", config, 2 * 567_755_777, t4)
    for row in (engine.architecture(), engine.memory(), engine.context(), engine.lint(), engine.compute()):
        assert row.status == "ok", row
    assert "8,192 tokens of the model's 8,192" in engine.context().detail


@pytest.mark.parametrize(
    ("name", "config", "weights", "instance", "said"),
    [
        ("mistral-7b-instruct-awq", MISTRAL_AWQ, 4_150_000_000, A10G, "float16, awq (config.json)"),
        ("gpt-oss-20b", config_of("gpt-oss-20b"), 13_758_000_000, L4, "bfloat16, mxfp4 (config.json)"),
        ("mistral-small-24b-base", MISTRAL_SMALL, 47_144_806_400, G5_12XLARGE, "bfloat16"),
        ("mistral-small-24b-instruct", MISTRAL_SMALL, 47_144_806_400, G5_12XLARGE, "bfloat16"),
        ("qwen2-5-vl-7b-instruct", config_of("qwen25-vl-7b"), 16_584_333_312, L40S, "bfloat16"),
    ],
)
def test_a_model_of_another_shape_fits_the_instance_its_file_names(
    name: str, config: dict[str, Any], weights: int, instance: InstanceType, said: str
) -> None:
    engine = judged(name, config, weights, instance)
    for row in (
        engine.architecture(),
        engine.memory(),
        engine.context(),
        engine.lint(),
        engine.compute(),
        engine.ranks(),
    ):
        assert row.status == "ok", row
    assert engine.compute().detail.endswith(said)


def test_the_gate_asks_each_shape_what_it_can() -> None:
    assert abilities_of(load_model("gpt-oss-20b", ROOT).engine.extra_args).keys() == {
        "tool_call",
        "reasoning",
    }
    assert load_model("mistral-small-24b-base", ROOT).route == "completions"
