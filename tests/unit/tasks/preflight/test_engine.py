"""The rows of preflight's table that are about the engine."""

from __future__ import annotations

from typing import Any

import pytest

from tasks.preflight.engine import Row, judge_compute, judge_flags, judge_ranks
from tasks.records.model import Model
from tasks.rollout.manifests import serving
from tasks.rollout.weights import Weights
from tests.support.builders import LLAMA, ROOT, WEIGHTS, a_cache, a_model, an_environment


def judged(**engine: Any) -> Row:
    model = a_model(engine=engine)
    return judge_flags(model, documents_of(model))


def documents_of(model: Model) -> list[dict[str, Any]]:
    return serving(ROOT, model, an_environment(), Weights.of(a_cache(), WEIGHTS))


def test_the_flags_of_an_ordinary_release_are_all_known() -> None:
    assert judged() == ("ok", "9 flags, all known to vLLM 0.32.0", "")


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (
            "acme/vllm-patched:v7",
            "not checked: the name acme/vllm-patched:v7 does not say which vLLM it carries",
        ),
        ("vllm/vllm-openai@sha256:" + "a" * 64, "not checked: the name vllm/vllm-openai@sha256:"),
        ("vllm/vllm-openai:v0.99.0", "not checked: no flags are known of vLLM 0.99.0, only of "),
    ],
)
def test_an_image_that_nothing_is_known_of_is_said_to_be_unchecked(image: str, said: str) -> None:
    found = judged(image=image, extra_args=["--enable-magic"])
    assert found.status == "warn"
    assert found.detail.startswith(said)


def test_a_flag_the_image_does_not_know_fails_with_where_to_mend_it() -> None:
    found = judged(extra_args=["--disable-log-requests"])
    assert found.status == "fail"
    assert "--enable-log-requests" in found.detail
    assert found.next_command == "mend engine in models/llama.yaml, or engine.image"


def test_an_image_too_old_for_slipways_own_flags_is_refused() -> None:
    assert "--shutdown-timeout" in judged(image="vllm/vllm-openai:v0.10.2").detail


def test_a_flag_of_the_models_file_is_not_given_a_second_time() -> None:
    assert "--max-model-len is given twice" in judged(extra_args=["--max-model-len=1024"]).detail


def test_a_flag_that_will_go_is_a_warning() -> None:
    assert judged(extra_args=["--log-config-file=/x"]).status == "warn"


@pytest.mark.parametrize(
    ("gpu", "engine", "config", "status"),
    [
        ("NVIDIA A10G", {}, LLAMA, "ok"),
        ("NVIDIA A10G", {"quantization": "awq"}, LLAMA, "ok"),
        ("NVIDIA T4", {}, LLAMA, "warn"),
        ("NVIDIA T4", {"dtype": "bfloat16"}, LLAMA, "fail"),
        ("NVIDIA V100", {"dtype": "float16", "quantization": "fp8"}, LLAMA, "fail"),
        (
            "NVIDIA V100",
            {"dtype": "float16"},
            LLAMA | {"quantization_config": {"quant_method": "fp8"}},
            "fail",
        ),
        ("NVIDIA A10G", {"quantization": "awq", "image": "acme/x:1"}, LLAMA, "warn"),
        ("NVIDIA V100", {"dtype": "float16", "extra_args": ["-q=fp8"]}, LLAMA, "fail"),
        ("NVIDIA Q9", {}, LLAMA, "warn"),
    ],
)
def test_a_model_against_the_gpu(
    gpu: str, engine: dict[str, Any], config: dict[str, Any], status: str
) -> None:
    model = a_model(engine=engine)
    found = judge_compute(model, documents_of(model), config, gpu)
    assert found.status == status, found
    assert found.next_command or status != "fail"


@pytest.mark.parametrize(
    ("engine", "gpus", "status"),
    [
        ({}, 1, "ok"),
        ({"tensor_parallel_size": 2}, 2, "ok"),
        ({"tensor_parallel_size": 2, "extra_args": ["--pipeline-parallel-size=2"]}, 4, "ok"),
        ({}, 2, "fail"),
        ({"tensor_parallel_size": 3}, 3, "fail"),
    ],
)
def test_ranks_are_read_off_the_rendered_pod(engine: dict[str, Any], gpus: int, status: str) -> None:
    model = a_model(engine=engine, resources={"gpu": gpus})
    assert judge_ranks(model, documents_of(model), 32).status == status
