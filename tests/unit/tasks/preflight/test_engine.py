"""The rows of the preflight table that are about the engine, read off the rendered pod."""

from __future__ import annotations

from typing import Any

import pytest

from tasks.preflight.arguments import settings_of
from tasks.preflight.engine import Engine
from tasks.preflight.nodes import MIB, InstanceType
from tasks.preflight.rows import Row
from tasks.records.model import Model
from tasks.rollout.manifests import serving
from tasks.rollout.weights import Weights
from tests.support.builders import LLAMA, ROOT, WEIGHTS, a_cache, a_model, an_environment, an_inspection

GIB = 2**30


def documents_of(model: Model) -> list[dict[str, Any]]:
    return serving(ROOT, model, an_environment(), Weights.of(a_cache(), WEIGHTS))


def an_instance(gpu: str = "NVIDIA A10G", gpus: int = 1, *architectures: str) -> InstanceType:
    return InstanceType("g5.2xlarge", 8, 32 * GIB, gpus, 22_888 * MIB, gpu, 58, architectures)


def an_engine(gpu: str = "NVIDIA A10G", config: dict[str, Any] | None = None, **model: Any) -> Engine:
    asked = a_model(**model)
    return Engine(asked, an_inspection(config), an_instance(gpu), documents_of(asked))


def linted(**engine: Any) -> Row:
    return an_engine(engine=engine).lint()


def test_the_flags_of_an_ordinary_release_are_all_known() -> None:
    assert linted() == ("ok", "9 flags, all known to vLLM 0.32.0", "")


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
    found = linted(image=image, extra_args=["--enable-magic"])
    assert found.status == "warn"
    assert found.detail.startswith(said)


def test_a_flag_the_image_does_not_know_fails_with_where_to_mend_it() -> None:
    found = linted(extra_args=["--disable-log-requests"])
    assert found.status == "fail"
    assert "--enable-log-requests" in found.detail
    assert found.next_command == "mend engine in models/llama.yaml, or engine.image"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--max-num-batched-tokens 8192"], "write --max-num-batched-tokens=8192"),
        (["--tool-call-parser=hermez"], "did you mean hermes?"),
        (["--reasoning-parser=qwen9"], "names the reasoning parser 'qwen9'"),
        (["--enable-auto-tool-choice"], "needs --tool-call-parser beside it"),
        (["--load-format=bitsandbites"], "names the load format"),
        (['--compilation-config={"level": 3}'], "has no key 'level' in vLLM 0.32.0"),
        (["--compilation-config.modes=3"], "the nearest it has is mode"),
        (
            ['--speculative-config={"num_speculative_token": 3}'],
            "the nearest it has is num_speculative_tokens",
        ),
        (["--model=/other"], "is given beside the model's path"),
        (["--max-num-seqs=auto"], "takes a"),
        (["--max-model-len=1024"], "--max-model-len is given twice"),
    ],
)
def test_what_vllm_would_refuse_is_refused(arguments: list[str], said: str) -> None:
    found = linted(extra_args=arguments)
    assert found.status == "fail"
    assert said in found.detail


@pytest.mark.parametrize(
    "arguments",
    [
        ["--tool-call-parser=hermes", "--enable-auto-tool-choice"],
        ["--tool-call-parser=mine", "--tool-parser-plugin=/models/mine.py"],
        ["--reasoning-parser=qwen3"],
        ['--compilation-config={"mode": 3}'],
        ["--max-num-batched-tokens=8_192"],
        ["--max-num-batched-tokens=8k"],
        ["--load-format=runai_streamer"],
    ],
)
def test_what_vllm_takes_is_let_through(arguments: list[str]) -> None:
    assert linted(extra_args=arguments).status == "ok", linted(extra_args=arguments)


def test_an_image_too_old_for_slipways_own_flags_is_refused() -> None:
    assert "--shutdown-timeout" in linted(image="vllm/vllm-openai:v0.10.2").detail


REPO = documents_of(a_model())
PATH = next(
    c["args"][0]
    for d in REPO
    if d["kind"] == "Deployment"
    for c in d["spec"]["template"]["spec"]["containers"]
)


@pytest.mark.parametrize(
    ("speculative", "said"),
    [
        ('{"method":"ngram","num_speculative_tokens":4}', ""),
        ('{"model":"ngram","num_speculative_tokens":4}', ""),
        ('{"method":"mtp","num_speculative_tokens":1}', ""),
        ('{"method":"ngram"}', "has no num_speculative_tokens"),
        (
            '{"method":"eagle3","model":"acme/draft","num_speculative_tokens":3}',
            "acme/draft, which is not staged",
        ),
        ('{"model":"/models/other","num_speculative_tokens":3}', "/models/other, which is not staged"),
        (f'{{"model":"{PATH}/draft","num_speculative_tokens":3}}', "the repo has no draft/config.json"),
    ],
)
def test_a_draft_model_is_of_the_models_own_repo_or_refused(speculative: str, said: str) -> None:
    row = linted(extra_args=[f"--speculative-config={speculative}"])
    assert row.status == ("fail" if said else "ok"), row
    assert said in row.detail


def test_a_flag_that_will_go_is_a_warning() -> None:
    assert linted(extra_args=["--log-config-file=/x"]).status == "warn"


FP8 = LLAMA | {"quantization_config": {"quant_method": "fp8"}}


@pytest.mark.parametrize(
    ("gpu", "engine", "config", "status"),
    [
        ("NVIDIA A10G", {}, LLAMA, "ok"),
        ("NVIDIA A10G", {"quantization": "awq"}, LLAMA, "ok"),
        ("NVIDIA T4", {}, LLAMA, "warn"),
        ("NVIDIA T4", {"dtype": "bfloat16"}, LLAMA, "fail"),
        ("NVIDIA T4", {"kv_cache_dtype": "fp8"}, LLAMA, "fail"),
        ("NVIDIA V100", {"dtype": "float16", "quantization": "fp8"}, LLAMA, "fail"),
        ("NVIDIA V100", {"dtype": "float16"}, FP8, "fail"),
        ("NVIDIA A10G", {"quantization": "awq", "image": "acme/x:1"}, LLAMA, "warn"),
        ("NVIDIA V100", {"dtype": "float16", "extra_args": ["-q=fp8"]}, LLAMA, "fail"),
        ("NVIDIA Q9", {}, LLAMA, "warn"),
        ("NVIDIA V100", {}, LLAMA, "fail"),  # images with CUDA 13 have nothing for it
        ("NVIDIA V100", {"image": "vllm/vllm-openai:v0.19.1"}, LLAMA, "warn"),
        ("NVIDIA V100", {"image": "acme/x:1"}, LLAMA, "warn"),
        ("NVIDIA T4", {"dtype": "float16"}, FP8, "warn"),
        ("NVIDIA A10G", {"quantization": "fp8"}, LLAMA, "warn"),
        ("NVIDIA L4", {"quantization": "fp8"}, LLAMA, "ok"),
    ],
)
def test_a_model_against_the_gpu(
    gpu: str, engine: dict[str, Any], config: dict[str, Any], status: str
) -> None:
    found = an_engine(gpu, config, engine=engine).compute()
    assert found.status == status, found
    assert found.next_command or status != "fail"


@pytest.mark.parametrize(
    ("architectures", "status"),
    [((), "ok"), (("x86_64",), "ok"), (("i386", "x86_64"), "ok"), (("arm64",), "fail")],
)
def test_a_node_with_another_processor_than_the_images_is_refused(
    architectures: tuple[str, ...], status: str
) -> None:
    model = a_model()
    engine = Engine(
        model, an_inspection(), an_instance("NVIDIA A10G", 1, *architectures), documents_of(model)
    )
    assert engine.compute().status == status


@pytest.mark.parametrize(
    ("engine", "gpus", "status"),
    [
        ({}, 1, "ok"),
        ({"tensor_parallel_size": 2}, 2, "ok"),
        ({"tensor_parallel_size": 2, "extra_args": ["--pipeline-parallel-size=2"]}, 4, "ok"),
        ({"extra_args": ["--pipeline-parallel-size=4"]}, 4, "ok"),
        ({}, 2, "fail"),
        ({"tensor_parallel_size": 3}, 3, "fail"),
    ],
)
def test_ranks_are_read_off_the_rendered_pod(engine: dict[str, Any], gpus: int, status: str) -> None:
    assert an_engine(engine=engine, resources={"gpu": gpus}).ranks().status == status


def test_a_config_without_sizes_is_judged_by_its_weights_alone() -> None:
    assert an_engine(config={"architectures": ["X"]}).memory().status == "warn"
    model = a_model()
    large = an_inspection({"architectures": ["X"]}, weight_bytes=40 * GIB)
    assert Engine(model, large, an_instance(), documents_of(model)).memory().status == "fail"


def test_settings_are_read_off_the_command_line_wherever_they_stand() -> None:
    words = [
        "/m",
        "--dtype=auto",
        "-q",
        "awq",
        "--kv_cache_dtype",
        "fp8_e5m2",
        "--dtype=half",
        "-tp",
        "2",
        "-pp=2",
    ]
    found = settings_of(words)
    assert (found.dtype, found.quantization, found.kv_cache_dtype) == ("half", "awq", "fp8_e5m2")
    assert (found.tensor, found.pipeline, found.data, found.gpus) == (2, 2, 1, 4)
    assert settings_of([*words, "--tensor-parallel-size=4"]).tensor == 4  # the last one counts
    assert settings_of(["/m", "--max-model-len=32k"]).max_model_len == 32_000
    assert settings_of(["/m", "--max-model-len=32K"]).max_model_len == 32_768
    assert settings_of(["/m", "--hf-overrides={no json"]).overrides == {}


@pytest.mark.parametrize(
    ("variable", "status", "said"),
    [
        ("VLLM_LOGGING_LEVEL", "ok", "all known to vLLM 0.32.0"),
        ("VLLM_LOGING_LEVEL", "warn", "is not read by vLLM 0.32.0: did you mean VLLM_LOGGING_LEVEL?"),
        ("NCCL_DEBUG", "ok", "all known"),
    ],
)
def test_variables_of_vllm_are_held_to_the_image(variable: str, status: str, said: str) -> None:
    row = linted(env={variable: "1"})
    assert (row.status, said in row.detail) == (status, True), row


def test_variables_are_held_to_the_version_of_the_image() -> None:
    row = linted(image="vllm/vllm-openai:v0.33.0", env={"VLLM_LOGING_LEVEL": "1"})
    assert "is not read by vLLM 0.33.0: did you mean VLLM_LOGGING_LEVEL?" in row.detail


def test_a_context_longer_than_the_model_is_let_through_by_vllms_own_variable() -> None:
    over: dict[str, Any] = {"max_model_len": 200_000}
    assert an_engine(engine=over).context().status == "fail"
    row = an_engine(engine=over | {"env": {"VLLM_ALLOW_LONG_MAX_MODEL_LEN": "1"}}).context()
    assert (row.status, "VLLM_ALLOW_LONG_MAX_MODEL_LEN lets it" in row.detail) == ("warn", True)
