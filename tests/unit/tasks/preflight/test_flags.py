"""Command lines against the flags of real vLLM versions."""

from __future__ import annotations

import json

import pytest

from tasks.preflight.flags import FlagTable, flags_of, lint, versions
from tasks.records.model import Engine
from tasks.rollout.manifests import engine_arguments
from tests.support.builders import ROOT


def table(version: str = "0.32.0") -> FlagTable:
    found = flags_of(version)
    assert found
    return found


def fatal(*arguments: str, version: str = "0.32.0", own: frozenset[str] = frozenset()) -> list[str]:
    return [str(one) for one in lint(["/models/m", *arguments], table(version), own) if one.fatal]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--max-num-seqs=64", "--enable-prefix-caching", "--no-enable-chunked-prefill"],
        ["--max_num_seqs", "64", "-tp", "2"],  # vLLM takes _ for -
        ["--max-model-len=32k", "--max-num-batched-tokens=8K", "--max-model-len=auto"],
        ["--dtype=half", "--kv-cache-dtype=fp8"],
        ["--compilation-config.level=3", "--compilation-config", '{"level": 3}', "-O3"],
        ['--kv-transfer-config={"kv_role": "kv_both", "bytes": 80m}'],
        ["--lora-modules", "a=/models/a", "b=/models/b", "--enable-lora"],
        ["--max-num-seq=64"],  # argparse takes an unambiguous beginning
        ["--hf-token"],  # its value may be left out
        ["--seed=-1", "--seed", "-1"],
        ["--max-logprobs=None"],
    ],
)
def test_what_vllm_takes_is_not_refused(arguments: list[str]) -> None:
    assert fatal(*arguments) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--enable-magic"], "--enable-magic is not known to vLLM 0.32.0"),
        (
            ["--disable-log-requests"],
            "--disable-log-requests is not known to vLLM 0.32.0: 0.16.0 is the last that is known to have it, "
            "and says of it: [DEPRECATED] Disable logging requests; the nearest it has is --enable-log-requests",
        ),
        (
            ["--swap-space=4"],
            "--swap-space is not known to vLLM 0.32.0: 0.17.1 is the last that is known to have it",
        ),
        (
            ["--max-num-seqz=4"],
            "--max-num-seqz is not known to vLLM 0.32.0; the nearest it has is --max-num-seqs",
        ),
        (
            ["--dtype=bf16"],
            "--dtype may be auto, bfloat16, float, float16, float32, half, not 'bf16': did you mean bfloat16?",
        ),
        (
            ["--enable-lora=True"],
            "--enable-lora takes no value: say --enable-lora or --no-enable-lora",
        ),
        (["--headless=1"], "--headless takes no value: say --headless"),
        (["--no-headless"], "--no-headless is not known to vLLM 0.32.0; the nearest it has is --headless"),
        (["--max-num-seqs=many"], "--max-num-seqs takes a whole number, not 'many'"),
        (["--max-num-seqs"], "--max-num-seqs needs a value"),
        (["--gpu-memory-utilization=90%"], "--gpu-memory-utilization takes a number, not '90%'"),
        (
            ["--max-model-len=32kB"],
            "--max-model-len takes a number of tokens or bytes like 32768, 32k or 32K, not '32kB'",
        ),
        (["--kv-transfer-config={no"], "--kv-transfer-config takes JSON, not '{no'"),
        (["--dtype.x=half"], "--dtype.x has a key, and --dtype takes none"),
        (["--enable-lora", "True"], "'True' belongs to no flag"),
        (
            ["--max-lora=3"],
            "--max-lora may be --max-lora-cls-labels, --max-lora-rank, --max-loras",
        ),
    ],
)
def test_what_vllm_would_end_at_is_said_before(arguments: list[str], said: str) -> None:
    assert fatal(*arguments) == [said]


def test_a_flag_that_came_later_is_told_as_that() -> None:
    assert fatal("--shutdown-timeout=30", version="0.10.2") == [
        "--shutdown-timeout is not known to vLLM 0.10.2: it came later, 0.18.1 is the first that is known to have it"
    ]


def test_a_flag_that_will_go_is_said_and_not_refused() -> None:
    [found] = lint(["/m", "--log-config-file=x"], table())
    assert not found.fatal
    assert "will be removed in v0.33.0. Use --logging-config.pylogging_config_file instead" in str(found)


def test_a_flag_that_slipway_sets_itself_is_not_given_again() -> None:
    own = frozenset({"--port", "--tensor-parallel-size"})
    assert fatal("--port=8000", "--port=9000", own=own) == [
        "--port is given twice: engine in the model's file says it"
    ]
    assert fatal("--tensor-parallel-size=1", "-tp=2", own=own)


@pytest.mark.parametrize("version", ["0.32.0", "0.33.0"])
def test_what_slipway_itself_says_is_known_to_the_versions_it_is_for(version: str) -> None:
    engine = Engine(quantization="fp8", kv_cache_dtype="fp8", trust_remote_code=True, tensor_parallel_size=2)
    arguments = engine_arguments(engine, model_path="/models/m", served_name="m")
    assert lint(arguments, table(version)) == []


def test_a_version_without_a_table_is_not_taken_for_another() -> None:
    assert flags_of("0.32.1") is None


@pytest.mark.parametrize("version", versions())
def test_every_table_says_where_it_is_from_and_has_what_every_vllm_has(version: str) -> None:
    document = json.loads((ROOT / f"tasks/preflight/engine_flags/{version}.json").read_text())
    assert document["version"] == version
    assert document["source"].startswith(f"vllm-{version}-")
    found = table(version)
    assert found.kinds["--max-num-seqs"] == "integer"
    assert found.kinds["--tensor-parallel-size"] == found.kinds["-tp"] == "integer"
    assert found.kinds["--no-enable-prefix-caching"] == "boolean"
    assert found.kinds["--api-key"] in ("list", "text")
    assert found.choices["--dtype"] == ("auto", "bfloat16", "float", "float16", "float32", "half")
    assert found.quantization["compressed-tensors"]["capability"] == 70
