from __future__ import annotations

from typing import Any

import pytest

from tasks.preflight.arguments import settings_of
from tasks.preflight.config import read_config
from tasks.preflight.quantization import quantization_of
from tasks.preflight.ranks import fitting, judge_ranks
from tasks.preflight.rows import Verdict

PHI4 = {
    "model_type": "phi3",
    "num_attention_heads": 40,
    "num_key_value_heads": 10,
    "num_hidden_layers": 40,
    "hidden_size": 5120,
}
LLAMA = {
    "model_type": "llama",
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "num_hidden_layers": 32,
    "hidden_size": 4096,
}
QWEN_FP8 = {
    "model_type": "qwen3_moe", "num_attention_heads": 32, "num_key_value_heads": 4, "num_hidden_layers": 48,
    "hidden_size": 2048, "head_dim": 128, "moe_intermediate_size": 768, "num_experts": 128,
    "quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]},
}  # fmt: skip
QWEN_AWQ = {
    "model_type": "qwen2", "num_attention_heads": 64, "num_key_value_heads": 8, "num_hidden_layers": 80,
    "hidden_size": 8192, "intermediate_size": 29568,
    "quantization_config": {"quant_method": "awq", "group_size": 128},
}  # fmt: skip
MLA = {
    "model_type": "deepseek_v3", "num_attention_heads": 128, "num_key_value_heads": 128, "kv_lora_rank": 512,
    "qk_rope_head_dim": 64, "v_head_dim": 128, "num_hidden_layers": 61, "hidden_size": 7168,
}  # fmt: skip
MAMBA = {
    "model_type": "granitemoehybrid", "num_attention_heads": 32, "num_key_value_heads": 8, "num_hidden_layers": 40,
    "hidden_size": 4096, "mamba_n_heads": 128, "mamba_n_groups": 1,
}  # fmt: skip


def judged(config: dict[str, Any], *flags: str, gpus: int, shm: bool = True, **more: Any) -> list[Verdict]:
    settings, read = settings_of(["/m", *flags]), read_config(config)
    found = judge_ranks(read, quantization_of(settings, read), settings, gpus=gpus, has_shm=shm, **more)
    return [verdict for verdict in found if verdict]


@pytest.mark.parametrize(
    ("config", "sizes"),
    [
        (PHI4, [1, 2, 5, 10]),
        (LLAMA, [1, 2, 4, 8, 16]),  # 16: more ranks than key-value heads, each copied to two
        (MLA, [1, 2, 4, 8, 16]),
        (QWEN_FP8, [1, 2]),  # 768 / 4 = 192 is not whole blocks of 128
        (QWEN_AWQ, [1]),  # 29,568 is 231 groups of 128
        (MAMBA, [1, 2, 4, 8, 16]),
        (MAMBA | {"mamba_n_groups": 8}, [1, 2, 4, 8]),
        (MAMBA | {"mamba_n_heads": 24}, [1, 2, 4, 8]),
    ],
)
def test_the_sizes_a_model_divides_by(config: dict[str, Any], sizes: list[int]) -> None:
    read = read_config(config)
    assert fitting(read, quantization_of(settings_of(["/m"]), read), experts_whole=False) == sizes


def test_expert_parallel_keeps_each_expert_whole() -> None:
    read = read_config(QWEN_FP8)
    assert 8 in fitting(read, quantization_of(settings_of(["/m"]), read), experts_whole=True)


@pytest.mark.parametrize(
    ("config", "flags", "gpus", "shm", "said"),
    [
        (LLAMA, [], 1, False, ""),
        (LLAMA, ["-tp=4"], 4, True, ""),
        (LLAMA, ["-tp=2", "-pp=2"], 4, True, ""),
        (LLAMA, ["-tp=2"], 1, True, "1 are missing"),
        (LLAMA, [], 4, True, "3 would stand idle"),
        (LLAMA, ["-tp=3"], 3, True, "does not divide its 32 attention heads; sizes that do: 1, 2, 4, 8, 16"),
        (PHI4, ["-tp=4"], 4, True, "does not divide its 10 key-value heads; sizes that do: 1, 2, 5, 10"),
        (PHI4, ["-pp=4"], 4, True, ""),
        (QWEN_AWQ, ["-tp=8"], 8, True, "which is not whole groups of 128 (awq)"),
        (QWEN_FP8, ["-tp=4"], 4, True, "which is not whole blocks of 128 x 128 (fp8)"),
        (QWEN_FP8, ["-tp=4", "-ep"], 4, True, ""),
        (LLAMA, ["-tp=2", "-ep"], 2, True, "this one has none"),
        (LLAMA, ["-pp=64"], 64, True, "more than the model's 32 layers"),
        ({}, ["-tp=4"], 4, True, ""),
        (LLAMA, ["-tp=4"], 4, False, "no /dev/shm"),
    ],
)
def test_ranks_against_the_model_gpus_and_shared_memory(
    config: dict[str, Any], flags: list[str], gpus: int, shm: bool, said: str
) -> None:
    found = judged(config, *flags, gpus=gpus, shm=shm)
    assert (not found) == (said == "")
    if found:
        assert said in found[0].what
        assert found[0].remedy


def test_the_remedy_takes_the_largest_size_that_fits_and_pipelines_the_rest() -> None:
    (found,) = judged(PHI4, "-tp=4", gpus=4)
    assert "set engine.tensor_parallel_size to 2" in found.remedy
    assert "--pipeline-parallel-size=2 for 4 GPUs" in found.remedy


def test_an_architecture_without_stages_is_not_pipelined() -> None:
    (found,) = judged(LLAMA, "-pp=2", gpus=2, pipelines=False)
    assert "cannot split" in found.what
