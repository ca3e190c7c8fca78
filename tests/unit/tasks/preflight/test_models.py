"""The models of this project against the instances their files name, by the configs vLLM 0.32.0 was recorded with."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tasks.preflight.engine import Engine
from tasks.preflight.nodes import MIB, InstanceType
from tasks.records.catalogue import load_model
from tasks.rollout.manifests import serving
from tasks.rollout.weights import Weights
from tests.support.builders import ROOT, a_cache, an_environment, an_inspection

GIB = 2**30
RECORDED = json.loads((ROOT / "tests/unit/tasks/preflight/recorded/vllm-0.32.0.json").read_text())["models"]
# memory as EC2 names it, vCPUs and RAM: https://aws.amazon.com/ec2/instance-types/g5/ and /g6e/
G5_12XLARGE = InstanceType("g5.12xlarge", 48, 192 * GIB, 4, 22_888 * MIB, "NVIDIA A10G", 58, ("x86_64",))
G6E_48XLARGE = InstanceType("g6e.48xlarge", 192, 1536 * GIB, 8, 45_776 * MIB, "NVIDIA L40S", 58, ("x86_64",))
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
