"""A quantisation method, a dtype and a GPU's compute capability, as tables."""

from __future__ import annotations

from typing import Any

import pytest

from tasks.preflight.arguments import Settings
from tasks.preflight.config import read_config
from tasks.preflight.dtypes import judge_dtype, served_dtype
from tasks.preflight.flags import flags_of
from tasks.preflight.quantization import Quantization, judge_quantization, quantization_of

T4, V100, A100, A10G, L4, H100 = 75, 70, 80, 86, 89, 90


@pytest.mark.parametrize(
    ("flag", "config", "found"),
    [
        (None, {}, None),
        ("awq", {}, ("awq", "--quantization")),
        (None, {"quantization_config": {"quant_method": "gptq", "bits": 4}}, ("gptq", "config.json")),
        ("awq", {"quantization_config": {"quant_method": "gptq"}}, ("gptq", "config.json")),
        (
            None,
            {"text_config": {"quantization_config": {"quant_method": "compressed_tensors"}}},
            ("compressed-tensors", "config.json"),
        ),
        (None, {"compression_config": {"format": "int-quantized"}}, ("compressed-tensors", "config.json")),
        (
            None,
            {"quantization_config": {"quant_method": "modelopt", "quant_algo": "NVFP4"}},
            ("modelopt_fp4", "config.json"),
        ),
        (
            None,
            {"quantization_config": {"quant_method": "modelopt", "quant_algo": "FP8"}},
            ("modelopt", "config.json"),
        ),
        (None, {"quantization_config": {}}, None),
    ],
)
def test_the_method_is_the_repos_or_the_flags(
    flag: str | None, config: dict[str, Any], found: tuple[str, str] | None
) -> None:
    method = quantization_of(Settings(quantization=flag), read_config(config))
    assert (method and (method.method, method.source)) == found


@pytest.mark.parametrize(
    ("said", "group", "block"),
    [
        ({"quant_method": "awq", "group_size": 128}, 128, None),
        ({"quant_method": "fp8", "weight_block_size": [128, 64]}, None, (128, 64)),
        (
            {
                "quant_method": "compressed-tensors",
                "config_groups": {"group_0": {"weights": {"group_size": 32}}},
            },
            32,
            None,
        ),
        ({"quant_method": "gptq", "group_size": -1}, None, None),
    ],
)
def test_groups_and_blocks_are_read(said: dict[str, Any], group: int | None, block: Any) -> None:
    found = quantization_of(Settings(), read_config({"quantization_config": said}))
    assert found
    assert (found.group, found.block) == (group, block)


@pytest.mark.parametrize(
    ("version", "method", "capability", "dtype", "said"),
    [
        ("0.32.0", "fp8", T4, "float16", ""),
        ("0.32.0", "fp8", V100, "float16", "needs compute capability 7.5 in vLLM 0.32.0, GPU has 7.0"),
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
        ("0.32.0", "of-nobody", L4, "float16", "has no quantisation method of-nobody"),
        ("0.10.2", "bitsandbytes", L4, "float16", ""),
    ],
)
@pytest.mark.parametrize("source", ["--quantization", "config.json"])
def test_a_method_against_a_gpu(
    version: str, method: str, capability: int, dtype: str, said: str, source: str
) -> None:
    table = flags_of(version)
    assert table
    found = judge_quantization(Quantization(method, source), None, dtype, capability, "GPU", table)
    assert (found is None) == (said == "")
    if found:
        assert said in found.what
        assert found.fatal
        assert found.remedy


@pytest.mark.parametrize(
    ("repo", "flag", "refused"),
    [
        ("awq", "awq", False),
        ("awq", "awq_marlin", False),
        ("gptq", "gptq_marlin", False),
        ("awq", "gptq", True),
        ("fp8", "awq", True),
    ],
)
def test_a_flag_must_name_the_repos_own_method(repo: str, flag: str, refused: bool) -> None:
    table = flags_of("0.32.0")
    assert table
    found = judge_quantization(Quantization(repo, "config.json"), flag, "float16", L4, "L4", table)
    assert (found is not None) is refused


GROUPED = {"weights": {"num_bits": 4, "type": "int", "group_size": 128, "actorder": "group"}}
FLOATS = {"weights": {"num_bits": 8, "type": "float"}}


@pytest.mark.parametrize(
    ("said", "version", "refused"),
    [
        ({"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": True}, "0.32.0", True),
        ({"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": True}, "0.28.0", False),
        ({"quant_method": "gptq", "bits": 4, "group_size": -1, "desc_act": True}, "0.32.0", False),
        ({"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": False}, "0.32.0", False),
        ({"quant_method": "compressed-tensors", "config_groups": {"group_0": GROUPED}}, "0.32.0", True),
        (
            {
                "quant_method": "compressed-tensors",
                "config_groups": {"group_0": {"weights": GROUPED["weights"] | {"actorder": "weight"}}},
            },
            "0.32.0",
            False,
        ),
    ],
)
def test_groups_in_the_order_of_activations_are_refused_where_vllm_dropped_them(
    said: dict[str, Any], version: str, refused: bool
) -> None:
    table, found = flags_of(version), quantization_of(Settings(), read_config({"quantization_config": said}))
    assert table
    assert found
    verdict = judge_quantization(found, None, "float16", A10G, "A10G", table)
    assert (verdict is not None and verdict.fatal) is refused


@pytest.mark.parametrize(
    ("group", "capability", "refused"), [(32, T4, True), (32, A100, False), (16, T4, False)]
)
def test_mxfp4_of_compressed_tensors_needs_more_than_its_method(
    group: int, capability: int, refused: bool
) -> None:
    scheme = {"weights": {"num_bits": 4, "type": "float", "group_size": group}}
    said = {"quant_method": "compressed-tensors", "config_groups": {"group_0": scheme}}
    table, found = flags_of("0.32.0"), quantization_of(Settings(), read_config({"quantization_config": said}))
    assert table
    assert found
    verdict = judge_quantization(found, None, "float16", capability, "T4", table)
    assert (verdict is not None and "compute capability 8.0" in verdict.what) is refused


@pytest.mark.parametrize(
    ("said", "capability", "told"),
    [
        ({"quant_method": "fp8"}, T4, True),
        ({"quant_method": "fp8"}, L4, False),
        ({"quant_method": "compressed-tensors", "config_groups": {"group_0": FLOATS}}, A10G, True),
        ({"quant_method": "compressed-tensors", "config_groups": {"group_0": GROUPED}}, A10G, False),
        ({"quant_method": "awq"}, T4, False),
    ],
)
def test_fp8_weights_on_a_gpu_without_fp8_are_told_and_not_refused(
    said: dict[str, Any], capability: int, told: bool
) -> None:
    table, found = flags_of("0.31.0"), quantization_of(Settings(), read_config({"quantization_config": said}))
    assert table
    assert found
    verdict = judge_quantization(found, None, "float16", capability, "T4", table)
    assert (verdict is not None and "Marlin" in verdict.what) is told
    assert verdict is None or not verdict.fatal


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
    settings, read = Settings(**asked), read_config(config)
    served = served_dtype(read, settings, capability)
    found = [one for one in judge_dtype(read, settings, "GPU", capability, served) if one]
    assert (not found) == (said == "")
    if found:
        assert said in found[0].what
        assert found[0].fatal is fatal
        assert found[0].remedy or not fatal


@pytest.mark.parametrize(
    ("config", "capability", "stored", "dtype"),
    [
        (BF16, A10G, {}, "bfloat16"),
        (BF16, T4, {}, "float16"),
        ({"dtype": "float32"}, A10G, {}, "bfloat16"),  # vLLM never takes float32 of itself
        ({}, A10G, {}, "bfloat16"),
        ({}, A10G, {"F16": 10}, "float16"),  # config.json says nothing, the tensors do
        ({}, A10G, {"F32": 1, "F16": 10}, "bfloat16"),
        ({"dtype": "float16"}, A10G, {}, "float16"),
        ({"text_config": {"dtype": "float16"}}, A10G, {}, "float16"),
        ({"dtype": "float16", "model_type": "gemma2"}, A10G, {}, "bfloat16"),
    ],
)
def test_what_auto_comes_to(
    config: dict[str, Any], capability: int, stored: dict[str, int], dtype: str
) -> None:
    assert served_dtype(read_config(config), Settings(), capability, stored) == dtype
