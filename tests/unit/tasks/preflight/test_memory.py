from __future__ import annotations

from typing import Any

import pytest

from tasks.preflight.arguments import settings_of
from tasks.preflight.config import Unsaid, read_config
from tasks.preflight.gpus import CAPABILITY, Gpu, capability_of, gpu_of
from tasks.preflight.memory import Plan, plan
from tasks.preflight.nodes import InstanceType
from tasks.preflight.remedies import remedy
from tasks.preflight.weights import served_bytes
from tests.support.builders import LLAMA

GIB, MIB = 2**30, 2**20
A10G, L40S = gpu_of("NVIDIA A10G", 22_888 * MIB), gpu_of("NVIDIA L40S", 45_776 * MIB)


def planned(*flags: str, weights: int = 16 * GIB, gpu: Gpu = A10G, **config: Any) -> Plan:
    words = ["/m", "--max-model-len=8192", "--gpu-memory-utilization=0.9", "--max-num-seqs=128", *flags]
    return plan(read_config(LLAMA | config), {"BF16": weights}, settings_of(words), gpu)


def test_the_cache_of_one_token_is_key_and_value_of_every_layer() -> None:
    assert planned().kv_per_token == 2 * 32 * 8 * 128 * 2


@pytest.mark.parametrize(
    ("flag", "share"),
    [
        ("--kv-cache-dtype=fp8", 0.5),
        ("--tensor-parallel-size=2", 0.5),
        ("--pipeline-parallel-size=2", 0.5),
        ("--dtype=float32", 2.0),
        ("--tensor-parallel-size=16", 1 / 8),  # fewer heads than ranks are copied and not divided
        ("--data-parallel-size=2", 1.0),
    ],
)
def test_what_makes_the_cache_of_a_token_smaller_or_larger(flag: str, share: float) -> None:
    assert planned(flag).kv_per_token == planned().kv_per_token * share


@pytest.mark.parametrize(
    ("weights", "gpu", "flags", "fits"),
    [
        (16, A10G, [], True),
        (16, A10G, ["--max-model-len=131072"], False),
        (16, L40S, ["--max-model-len=131072"], True),
        (16, A10G, ["--max-model-len=131072", "--kv-cache-memory-bytes=18g"], True),
        (26, A10G, [], False),
        (26, A10G, ["--tensor-parallel-size=2"], True),
        (26, A10G, ["--pipeline-parallel-size=2"], True),
        (26, A10G, ["--quantization=fp8"], True),
        (26, A10G, ["--cpu-offload-gb=12"], True),
        (16, A10G, ["--gpu-memory-utilization=0.7"], False),
    ],
)
def test_whether_weights_and_one_longest_request_fit(
    weights: int, gpu: Gpu, flags: list[str], fits: bool
) -> None:
    assert planned(*flags, weights=weights * GIB, gpu=gpu).fits is fits


def test_memory_is_shared_out_without_rest() -> None:
    found = planned()
    assert found.budget == found.weights.total + found.start_total + found.kv_cache
    assert found.needed == found.wanted * found.kv_per_token


def test_nothing_left_for_the_cache_is_said_as_that() -> None:
    found = planned(weights=40 * GIB)
    assert (found.longest, found.fits) == (0, False)
    assert "nothing is left for the KV cache" in str(found)


def test_what_fits_only_if_the_estimates_are_too_high_may_fit() -> None:
    tight = planned("--max-model-len=25600")
    assert (tight.fits, tight.may_fit) == (False, True)


@pytest.mark.parametrize("missing", ["hidden_size", "num_hidden_layers", "vocab_size"])
def test_a_size_nobody_says_is_named(missing: str) -> None:
    config = {key: value for key, value in LLAMA.items() if key != missing} | {"model_type": "of-nobody"}
    with pytest.raises(Unsaid, match=missing):
        plan(read_config(config), {}, settings_of(["/m"]), A10G)


@pytest.mark.parametrize(
    ("model_type", "name", "value"),
    [
        ("mistral", "kv_heads", 8),
        ("llama", "kv_heads", 32),
        ("qwen3", "head_size", 128),
        ("gemma", "head_size", 256),
        ("qwen3_moe", "kv_heads", 4),
    ],
)
def test_a_left_out_value_is_the_model_types_own_default(model_type: str, name: str, value: int) -> None:
    config = read_config(
        {"model_type": model_type, "hidden_size": 5120, "num_attention_heads": 32, "num_hidden_layers": 2}
    )
    assert getattr(config, name) == value


def test_the_text_model_of_several_is_the_one_that_counts() -> None:
    nested = {"model_type": "mistral3", "text_config": LLAMA, "vision_config": {}}
    assert read_config(nested).layers == LLAMA["num_hidden_layers"]
    omni = {"model_type": "qwen2_5_omni", "thinker_config": {"text_config": LLAMA}}
    assert read_config(omni).kv_heads == 8


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model_type": "of-nobody"}, "of-nobody is not a model type"),
        (
            {"model_type": "qwen2", "layer_types": ["full_attention", "moon_attention"] * 16},
            "counted as keeping every token",
        ),
        ({"model_type": "deepseek_v4", "compress_ratios": [4] * 32}, "compressed KV cache"),
    ],
)
def test_what_is_not_known_is_said_and_counted_whole(change: dict[str, Any], said: str) -> None:
    found = planned(**change)
    assert said in found.unknown[0]
    assert found.kv_per_token >= planned().kv_per_token


def test_a_window_of_an_unknown_model_type_is_not_believed() -> None:
    known, unknown = (planned(model_type=name, sliding_window=512) for name in ("mistral", "of-nobody"))
    assert known.needed < unknown.needed


@pytest.mark.parametrize(
    ("stored", "dtype", "quantised", "online", "expected"),
    [
        ({"F32": 400}, "bfloat16", False, None, 200),
        ({"BF16": 200}, "float32", False, None, 400),
        ({"F16": 200, "I64": 8}, "bfloat16", False, None, 208),
        ({"F8_E4M3": 100, "F32": 4}, "bfloat16", True, None, 104),  # scales stay as they are
        ({"I32": 100, "F16": 20}, "bfloat16", True, None, 120),
        ({"U8": 100, "BF16": 20}, "bfloat16", True, None, 120),
    ],
)
def test_weights_are_held_in_the_dtype_they_are_served_in(
    stored: dict[str, int], dtype: str, quantised: bool, online: str | None, expected: int
) -> None:
    assert served_bytes(stored, dtype, quantised=quantised, online=online, config=None) == expected


def test_a_checkpoint_that_quantises_its_cache_halves_it() -> None:
    scheme = {"quant_method": "compressed-tensors", "kv_cache_scheme": {"num_bits": 8, "type": "float"}}
    assert planned(quantization_config=scheme).kv_per_token == planned().kv_per_token // 2


@pytest.mark.parametrize(
    ("name", "nominal", "shown"),
    [
        ("NVIDIA T4", 16_384, 14.58),
        ("NVIDIA H100", 81_920, 79.11),
        ("NVIDIA L4", 22_888, 22.05),
        ("NVIDIA A10G", 22_888, 22.0),
    ],
)
def test_cuda_shows_less_memory_than_ec2_names(name: str, nominal: int, shown: float) -> None:
    assert gpu_of(name, nominal * MIB).memory / GIB == pytest.approx(shown, abs=0.05)


@pytest.mark.parametrize(
    ("name", "capability"),
    [
        ("NVIDIA T4", 75),
        ("NVIDIA A10G", 86),
        ("NVIDIA L40S", 89),
        ("NVIDIA H100", 90),
        ("AMD Radeon Pro V520", None),
        ("no GPU", None),
    ],
)
def test_a_gpus_capability_is_known_by_ec2s_name_for_it(name: str, capability: int | None) -> None:
    assert capability_of(name) == capability
    assert all(30 < each < 200 for each in CAPABILITY.values())


def test_a_refusal_names_what_would_work() -> None:
    g5 = InstanceType("g5.2xlarge", 8, 32 * GIB, 1, 22_888 * MIB, "NVIDIA A10G", 58)
    long = planned("--max-model-len=131072")
    said = remedy(long, {"BF16": 16 * GIB}, g5)
    assert "set engine.max_model_len: " in said
    assert "--tensor-parallel-size 2" in said
    assert "(g5.2xlarge has 1)" in said
    large = planned(weights=60 * GIB)
    assert "--tensor-parallel-size 4" in remedy(large, {"BF16": 60 * GIB}, g5)
    assert "a GPU of 69" in remedy(large, {"BF16": 60 * GIB}, g5)
