"""What a GPU's compute capability allows, as tables."""

from __future__ import annotations

from typing import Any

import pytest

from tasks.preflight.capability import (
    CAPABILITY,
    Asked,
    asked_of,
    capability_of,
    dtype_of,
    judge_dtype,
    judge_quantization,
    judge_ranks,
    quantization_of,
    ranks,
)
from tasks.preflight.flags import flags_of

T4, V100, A100, A10G, L4, H100 = 75, 70, 80, 86, 89, 90


@pytest.mark.parametrize(
    ("name", "capability"),
    [
        ("NVIDIA T4", T4),
        ("NVIDIA A10G", A10G),
        ("NVIDIA L4", L4),
        ("NVIDIA L40S", 89),
        ("NVIDIA A100", A100),
        ("NVIDIA H100", H100),
        ("NVIDIA V100", V100),
        ("AMD Radeon Pro V520", None),
        ("NVIDIA X1", None),
        ("no GPU", None),
    ],
)
def test_a_gpus_capability_is_known_by_ec2s_name_for_it(name: str, capability: int | None) -> None:
    assert capability_of(name) == capability


def test_every_capability_is_ten_times_the_number() -> None:
    assert all(30 < capability < 200 for capability in CAPABILITY.values())


@pytest.mark.parametrize(
    ("asked", "config", "found"),
    [
        ({}, {}, None),
        ({"quantization": "awq"}, {}, ("awq", "--quantization")),
        ({}, {"quantization_config": {"quant_method": "gptq", "bits": 4}}, ("gptq", "config.json")),
        (
            {"quantization": "awq"},
            {"quantization_config": {"quant_method": "gptq"}},
            ("awq", "--quantization"),
        ),
        (
            {},
            {"text_config": {"quantization_config": {"quant_method": "compressed_tensors"}}},
            ("compressed-tensors", "config.json"),
        ),
        ({}, {"compression_config": {"format": "int-quantized"}}, ("compressed-tensors", "config.json")),
        (
            {},
            {"quantization_config": {"quant_method": "modelopt", "quant_algo": "NVFP4"}},
            ("modelopt_fp4", "config.json"),
        ),
        (
            {},
            {"quantization_config": {"quant_method": "modelopt", "quant_algo": "FP8"}},
            ("modelopt", "config.json"),
        ),
        ({}, {"quantization_config": {}}, None),
    ],
)
def test_the_method_is_the_flags_or_the_repos(
    asked: dict[str, Any], config: dict[str, Any], found: tuple[str, str] | None
) -> None:
    assert quantization_of(Asked(**asked), config) == found


@pytest.mark.parametrize(
    ("version", "method", "capability", "dtype", "said"),
    [
        ("0.32.0", "fp8", T4, "float16", ""),
        ("0.32.0", "fp8", V100, "float16", "needs compute capability 7.5 in vLLM 0.32.0, GPU has 7.0"),
        ("0.16.0", "fp8", T4, "float16", ""),
        ("0.10.2", "fp8", T4, "float16", "needs compute capability 8.0 in vLLM 0.10.2, GPU has 7.5"),
        ("0.32.0", "awq", T4, "float16", ""),
        ("0.10.2", "awq_marlin", T4, "float16", "needs compute capability 8.0"),
        ("0.32.0", "modelopt", T4, "float16", "needs compute capability 8.0"),
        ("0.10.2", "modelopt", A10G, "float16", "needs compute capability 8.9"),
        ("0.32.0", "mxfp4", A100, "bfloat16", ""),
        ("0.32.0", "mxfp4", A100, "float16", "computes in bfloat16 in vLLM 0.32.0, and dtype is float16"),
        ("0.10.2", "awq", T4, "float32", "computes in float16 in vLLM 0.10.2, and dtype is float32"),
        ("0.10.2", "awq", A10G, "bfloat16", ""),  # marlin takes its place there
        ("0.32.0", "fp_quant", H100, "bfloat16", "needs compute capability 10.0"),
        ("0.32.0", "fp8_per_block", T4, "float16", ""),  # known, and nothing is said of its minimum
        ("0.32.0", "bitsandbytes", L4, "float16", "has no quantisation method bitsandbytes"),
        ("0.10.2", "bitsandbytes", L4, "float16", ""),
    ],
)
def test_a_method_against_a_gpu(version: str, method: str, capability: int, dtype: str, said: str) -> None:
    table = flags_of(version)
    assert table
    found = judge_quantization(method, "--quantization", dtype, capability, "GPU", table)
    assert (found.what if found else "").endswith(said) or (said and found and said in found.what)
    assert (found is None) == (said == "")


def test_a_repos_method_that_is_not_known_is_warned_about_and_a_flags_is_refused() -> None:
    table = flags_of("0.32.0")
    assert table
    of_repo = judge_quantization("new", "config.json", "float16", L4, "L4", table)
    of_flag = judge_quantization("new", "--quantization", "float16", L4, "L4", table)
    assert (of_repo and of_repo.fatal, of_flag and of_flag.fatal) == (False, True)


BF16: dict[str, Any] = {"torch_dtype": "bfloat16", "model_type": "llama"}


@pytest.mark.parametrize(
    ("asked", "config", "capability", "said", "fatal"),
    [
        ({}, BF16, A10G, "", False),
        (
            {},
            BF16,
            T4,
            "the model is bfloat16, GPU has compute capability 7.5: vLLM runs it in float16",
            False,
        ),
        ({}, BF16 | {"model_type": "gemma3"}, T4, "vLLM runs it in float32", False),
        ({}, {"torch_dtype": "float16"}, T4, "", False),
        ({"dtype": "bfloat16"}, BF16, T4, "bfloat16 needs compute capability 8.0, GPU has 7.5", True),
        ({"dtype": "bfloat16"}, BF16, A100, "", False),
        ({"dtype": "float16"}, BF16, T4, "", False),
        ({"dtype": "float16"}, {"model_type": "gemma2"}, L4, "does not run gemma2 in float16", True),
        (
            {"kv_cache_dtype": "fp8"},
            {},
            T4,
            "an fp8 KV cache needs compute capability 8.0, GPU has 7.5",
            True,
        ),
        ({"kv_cache_dtype": "fp8"}, {}, A100, "", False),
        ({"kv_cache_dtype": "fp8_e5m2"}, {}, T4, "an fp8 KV cache needs", True),
        ({"dtype": "half"}, {"model_type": "gemma2"}, L4, "does not run gemma2 in float16", True),
    ],
)
def test_a_dtype_against_a_gpu(
    asked: dict[str, Any], config: dict[str, Any], capability: int, said: str, fatal: bool
) -> None:
    found = judge_dtype(Asked(**asked), config, capability, "GPU")
    assert (found is None) == (said == "")
    if found:
        assert said in found.what
        assert found.fatal is fatal
        assert found.remedy or not fatal


@pytest.mark.parametrize(
    ("config", "capability", "dtype"),
    [
        (BF16, A10G, "bfloat16"),
        (BF16, T4, "float16"),
        ({"dtype": "float32"}, A10G, "bfloat16"),  # vLLM never takes float32 of itself
        ({}, A10G, "bfloat16"),
        ({"dtype": "float16"}, A10G, "float16"),
        ({"text_config": {"dtype": "float16"}}, A10G, "float16"),
        ({"dtype": "float16", "model_type": "gemma2"}, A10G, "bfloat16"),
    ],
)
def test_what_auto_comes_to(config: dict[str, Any], capability: int, dtype: str) -> None:
    assert dtype_of(Asked(), config, capability) == dtype


@pytest.mark.parametrize(
    ("arguments", "count"),
    [
        (["/m"], 1),
        (["/m", "--tensor-parallel-size=4"], 4),
        (["/m", "--tensor-parallel-size=2", "--pipeline_parallel_size", "2", "-dp=2"], 8),
        (["/m", "--tensor-parallel-size=2", "-tp", "4"], 4),  # the last counts
    ],
)
def test_the_gpus_a_command_line_uses(arguments: list[str], count: int) -> None:
    assert ranks(arguments) == count


@pytest.mark.parametrize(
    ("parallel", "used", "gpus", "heads", "shm", "said"),
    [
        (1, 1, 1, 32, False, ""),
        (4, 4, 4, 32, True, ""),
        (2, 4, 4, 32, True, ""),
        (2, 2, 1, 32, True, "1 are missing"),
        (1, 1, 4, 32, False, "3 would stand idle"),
        (3, 3, 3, 32, True, "tensor_parallel_size 3 does not divide the model's 32 attention heads"),
        (4, 4, 4, None, True, ""),
        (4, 4, 4, 32, False, "no /dev/shm"),
    ],
)
def test_ranks_against_gpus_heads_and_shared_memory(
    parallel: int, used: int, gpus: int, heads: int | None, shm: bool, said: str
) -> None:
    found = judge_ranks(tensor_parallel=parallel, used=used, gpus=gpus, heads=heads, has_shm=shm)
    assert (found is None) == (said == "")
    if found:
        assert said in found.what
        assert found.remedy


def test_the_remedy_for_heads_names_sizes_that_divide_them() -> None:
    found = judge_ranks(tensor_parallel=6, used=6, gpus=6, heads=40, has_shm=True)
    assert found
    assert "4 or 5" in found.remedy


def test_what_is_asked_is_read_off_the_command_line_wherever_it_stands() -> None:
    assert asked_of(["/m", "--dtype=auto"]) == Asked()
    assert asked_of(
        ["/m", "--dtype=auto", "-q", "awq", "--kv_cache_dtype", "fp8_e5m2", "--dtype=half"]
    ) == Asked(dtype="half", quantization="awq", kv_cache_dtype="fp8_e5m2")
