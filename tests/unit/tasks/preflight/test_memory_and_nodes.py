from __future__ import annotations

from typing import Any

import pytest

from tasks.preflight.memory import CONTEXT_BYTES, architecture, fit
from tasks.preflight.nodes import MIB, InstanceType, allocatable, reserved_cpu, shortages
from tasks.preflight.quota import QuotaNeed, quota_code
from tasks.records.model import Engine, Resources
from tests.support.builders import LLAMA

GIB = 2**30
A10G, L40S = 24_576 * MIB, 49_152 * MIB
G5 = InstanceType("g5.2xlarge", 8, 32 * GIB, 1, A10G, "NVIDIA A10G", 58)


def test_a_models_sizes_are_read_from_its_config() -> None:
    arch = architecture(LLAMA)
    assert (arch.layers, arch.kv_heads, arch.head_size, arch.dtype) == (32, 8, 128, "bfloat16")


@pytest.mark.parametrize(
    ("change", "field", "value"),
    [
        ({"head_dim": 64}, "head_size", 64),
        ({"num_key_value_heads": None}, "kv_heads", 32),  # no grouping: every head has its own
        ({"dtype": "float16"}, "dtype", "float16"),
        ({"max_position_embeddings": None}, "max_positions", 0),
    ],
)
def test_what_a_config_may_say_otherwise(change: dict[str, Any], field: str, value: object) -> None:
    assert getattr(architecture({**LLAMA, **change}), field) == value


def test_the_text_model_of_several_is_the_one_that_counts() -> None:
    assert architecture({"text_config": LLAMA, "torch_dtype": "float16"}).layers == 32


@pytest.mark.parametrize("missing", ["num_attention_heads", "hidden_size", "num_hidden_layers", "vocab_size"])
def test_what_a_config_does_not_say_is_named(missing: str) -> None:
    with pytest.raises(KeyError, match=missing):
        architecture({key: value for key, value in LLAMA.items() if key != missing})


def test_the_cache_of_one_token_is_key_and_value_of_every_layer() -> None:
    assert fit(architecture(LLAMA), 16 * GIB, Engine(), A10G).kv_per_token == 2 * 32 * 8 * 128 * 2


@pytest.mark.parametrize(
    ("engine", "share"),
    [({"kv_cache_dtype": "fp8"}, 0.5), ({"tensor_parallel_size": 2}, 0.5), ({"dtype": "float32"}, 2.0)],
)
def test_what_makes_the_cache_smaller_or_larger(engine: dict[str, Any], share: float) -> None:
    plain = fit(architecture(LLAMA), GIB, Engine(), A10G).kv_per_token
    assert fit(architecture(LLAMA), GIB, Engine.model_validate(engine), A10G).kv_per_token == plain * share


def test_fewer_heads_than_ranks_are_copied_and_not_divided() -> None:
    engine = Engine(tensor_parallel_size=16)
    assert fit(architecture(LLAMA), GIB, engine, A10G).kv_per_token == 2 * 32 * 1 * 128 * 2


@pytest.mark.parametrize(
    ("weights", "memory", "engine", "fits"),
    [
        (16 * GIB, A10G, {"max_model_len": 8192}, True),
        (16 * GIB, A10G, {"max_model_len": 131072}, False),
        (16 * GIB, L40S, {"max_model_len": 131072}, True),
        (26 * GIB, A10G, {"max_model_len": 8192}, False),
        (26 * GIB, A10G, {"max_model_len": 8192, "tensor_parallel_size": 2}, True),
        (16 * GIB, A10G, {"max_model_len": 8192, "gpu_memory_utilization": 0.7}, False),
    ],
)
def test_whether_weights_and_one_longest_request_fit(
    weights: int, memory: int, engine: dict[str, Any], fits: bool
) -> None:
    assert fit(architecture(LLAMA), weights, Engine.model_validate(engine), memory).fits is fits


def test_memory_is_shared_out_without_rest() -> None:
    found = fit(architecture(LLAMA), 16 * GIB, Engine(), A10G)
    assert found.budget == found.weights + found.activations + found.kv_cache
    assert found.activations > CONTEXT_BYTES
    assert found.longest == found.kv_cache // found.kv_per_token


def test_nothing_left_for_the_cache_is_said_as_that() -> None:
    found = fit(architecture(LLAMA), 40 * GIB, Engine(), A10G)
    assert (found.longest, found.fits) == (0, False)
    assert "nothing is left for the KV cache" in str(found)


@pytest.mark.parametrize(
    ("vcpus", "cores"), [(1, 0.06), (2, 0.07), (4, 0.08), (8, 0.09), (16, 0.11), (48, 0.19), (192, 0.55)]
)
def test_the_kubelet_keeps_what_the_eks_ami_reserves(vcpus: int, cores: float) -> None:
    assert reserved_cpu(vcpus) == pytest.approx(cores)


def test_a_node_gives_less_than_it_has() -> None:
    room = allocatable(G5)
    assert 7 < room.cpu < 8 - 0.09
    # 255 + 11 x 58 + 100 MiB are reserved, the DaemonSets take their share
    assert 29 * GIB < room.memory < 32 * GIB - (255 + 11 * 58 + 100) * MIB
    assert room.gpus == 1


@pytest.mark.parametrize(
    ("resources", "short"),
    [
        ({"cpu": "3", "memory": "12Gi", "gpu": 1}, []),
        ({"cpu": "8"}, ["cpu"]),
        ({"memory": "32Gi"}, ["memory"]),
        ({"gpu": 2}, ["nvidia.com/gpu"]),
        ({"cpu": "9", "memory": "64Gi", "gpu": 4}, ["cpu", "memory", "nvidia.com/gpu"]),
        ({"cpu": "7500m", "memory": "28Gi"}, []),
    ],
)
def test_what_a_node_cannot_give_is_named(resources: dict[str, Any], short: list[str]) -> None:
    found = shortages(Resources.model_validate(resources), allocatable(G5))
    assert [line.split(":")[0] for line in found] == short


@pytest.mark.parametrize(
    ("instance", "capacity", "code"),
    [
        ("g5.2xlarge", "ON_DEMAND", "L-DB2E81BA"),
        ("g6e.xlarge", "ON_DEMAND", "L-DB2E81BA"),
        ("g4dn.xlarge", "SPOT", "L-3819A6DF"),
        ("vt1.3xlarge", "ON_DEMAND", "L-DB2E81BA"),
        ("p4d.24xlarge", "ON_DEMAND", "L-417A185B"),
        ("p4d.24xlarge", "SPOT", "L-7212CCBC"),
        ("m6i.large", "ON_DEMAND", None),
        ("trn1.2xlarge", "ON_DEMAND", None),
        ("inf2.xlarge", "SPOT", None),
    ],
)
def test_which_quota_an_instance_type_falls_under(instance: str, capacity: Any, code: str | None) -> None:
    assert quota_code(instance, capacity) == code


@pytest.mark.parametrize(
    ("limit", "used", "needed", "enough"),
    [(8, 0, 8, True), (8, 1, 8, False), (0, 0, 8, False), (16, 8, 8, True), (8, 16, 0, True)],
)
def test_a_quota_is_enough_when_what_is_added_fits(limit: int, used: int, needed: int, enough: bool) -> None:
    assert QuotaNeed("L-1", limit, used, needed).enough is enough
