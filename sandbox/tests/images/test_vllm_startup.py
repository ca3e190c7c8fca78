"""What vLLM says and how it ends when it starts, and when it cannot."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from slipway_sandbox.faults import Faults
from slipway_sandbox.images.vllm import flags, startup
from slipway_sandbox.images.vllm.__main__ import main
from slipway_sandbox.images.vllm.memory import GIB, OutOfMemoryError, plan_memory
from slipway_sandbox.images.vllm.model import ModelConfig, find_model, read_config
from slipway_sandbox.loopback import free_port
from slipway_sandbox.settings import EngineTiming
from tests.images.conftest import Pod, Serve, write_settings

LLAMA_8B = ModelConfig("LlamaForCausalLM", 32, 4096, 14336, 8, 128, 128256, "bfloat16", 131072, (128001,))


def plan(total: float, length: int, *, weights: float = 15.0, parallel: int = 1) -> int:
    """KV cache tokens of a Llama 3 8B on GPUs of `total` GiB."""
    config = ModelConfig(**{**LLAMA_8B.__dict__, "max_model_len": length})
    return plan_memory(
        config,
        total=int(total * GIB),
        weights=int(weights * GIB),
        utilization=0.9,
        tensor_parallel=parallel,
        kv_cache_dtype="auto",
        max_num_batched_tokens=2048,
        max_num_seqs=256,
        enforce_eager=False,
        fit_length=False,
    ).kv_tokens


Fail = Callable[..., tuple[int, str]]


@pytest.fixture
def fail(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Fail:
    """`fail(model, *flags, env=…)`: the exit code and the output of a vLLM that does not get as far as serving."""

    def run(model: Path | str, *extra: str, env: dict[str, str] | None = None) -> tuple[int, str]:
        write_settings(tmp_path, EngineTiming(0.0, 0.0, 0.03, 0.004))
        for name, value in ({"SLIPWAY_SANDBOX_ROOT": str(tmp_path)} | (env or {})).items():
            monkeypatch.setenv(name, value)
        argv = ["vllm", "serve", str(model), "--served-model-name", "tiny", "--port", str(free_port())]
        monkeypatch.setattr("sys.argv", [*argv, *extra])
        code = main()
        return code, "".join(capfd.readouterr())

    return run


def test_the_phases_are_logged_in_order(vllm: Pod) -> None:
    text = vllm.printed()
    markers = (
        "vLLM server version 0.32.0",
        "Starting to load model",
        "Loading weights took",
        "Model loading took",
        "GPU KV cache size:",
        "Graph capturing finished",
        "init engine (profile, create kv cache, warmup model) took",
        "Starting vLLM server on http://0.0.0.0:",
        "Application startup complete.",
    )
    places = [text.find(marker) for marker in markers]
    assert -1 not in places
    assert places == sorted(places)


def test_the_port_refuses_until_a_slow_load_is_over(serve: Serve) -> None:
    pod = serve(faults={"engine-slow-load": {"value": 0.7}})
    deadline = time.monotonic() + 10
    while "Starting to load model" not in pod.printed():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    with pytest.raises(httpx.ConnectError):
        httpx.get(pod.url + "/health", trust_env=False)
    pod.until_ready()
    took = pod.printed().partition("Loading weights took ")[2].split()[0]
    assert float(took) >= 0.7


def test_graphs_of_the_same_flags_are_loaded_and_others_are_not(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def lines(*extra: str) -> str:
        args = flags.parse(["serve", "m", *extra])
        asyncio.run(startup.compile_graphs(EngineTiming(0.0, 0.0, 0.03, 0.004), args, str(tmp_path)))
        return "".join(capfd.readouterr())

    kept, loaded = "Cache the graph of compile range", "Directly load the compiled graph(s)"
    assert kept in lines()
    assert loaded in lines()
    assert kept in lines("--max-num-seqs=7")
    assert "torch.compile" not in lines("--enforce-eager")


@pytest.mark.parametrize("unknown", [["--foo"], ["--swap-space", "4"]])  # the second: gone since V1
def test_an_unknown_flag_is_a_usage_error(capsys: pytest.CaptureFixture[str], unknown: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        flags.parse(["serve", "m", *unknown])
    assert ended.value.code == 2
    assert f"vllm: error: unrecognized arguments: {' '.join(unknown)}\n" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "read"), [("32k", 32_000), ("32K", 32_768), ("25.6k", 25_600), ("4096", 4096), ("auto", -1)]
)
def test_lengths_are_human_readable(given: str, read: int) -> None:
    assert flags.parse(["serve", "m", "--max-model-len", given]).max_model_len == read


def test_underscores_short_flags_negations_and_dotted_json_are_read() -> None:
    words = [
        "serve",
        "m",
        "--max_num_seqs=7",
        "-tp",
        "2",
        "--no-enable-prefix-caching",
        "--compilation-config.mode",
        "3",
    ]
    args = flags.parse(words)
    assert (args.max_num_seqs, args.tensor_parallel_size, args.enable_prefix_caching) == (7, 2, False)
    assert args.compilation_config == {"mode": 3}


def test_a_served_name_without_a_model_is_refused() -> None:
    with pytest.raises(ValueError, match="should be provided as the first positional argument"):
        flags.parse(["serve", "--served-model-name", "x"])


def test_a_truncated_shard_ends_the_engine(fail: Fail, tiny_llama: Path, tmp_path: Path) -> None:
    model = shutil.copytree(tiny_llama, tmp_path / "m")
    shard = model / "model-00002-of-00002.safetensors"
    shard.write_bytes(shard.read_bytes()[:-100])
    code, text = fail(model)
    assert code == 1
    assert "SafetensorError: Error while deserializing header" in text
    assert "RuntimeError: Engine core initialization failed. See root cause above." in text


def test_a_missing_shard_is_named(fail: Fail, tiny_llama: Path, tmp_path: Path) -> None:
    model = shutil.copytree(tiny_llama, tmp_path / "m")
    (model / "model-00001-of-00002.safetensors").unlink()
    code, text = fail(model)
    assert code == 1
    assert "FileNotFoundError: Weight files referenced in index but missing: {" in text
    assert "model-00001-of-00002.safetensors'}" in text


def test_a_tensor_that_no_file_has_is_named(fail: Fail, tiny_llama: Path, tmp_path: Path) -> None:
    model = shutil.copytree(tiny_llama, tmp_path / "m")
    index = model / "model.safetensors.index.json"
    document = json.loads(index.read_text())
    document["weight_map"]["model.new.weight"] = next(iter(document["weight_map"].values()))
    index.write_text(json.dumps(document))
    code, text = fail(model)
    assert code == 1
    assert "ValueError: Following weights were not initialized from checkpoint: {'model.new.weight'}" in text


def test_an_architecture_vllm_does_not_know_is_refused(fail: Fail, tiny_llama: Path, tmp_path: Path) -> None:
    model = configured(tiny_llama, tmp_path, architectures=["FooForCausalLM"])
    code, text = fail(model)
    assert code == 1
    assert (
        "Model architectures ['FooForCausalLM'] are not supported for now. Supported architectures:" in text
    )


@pytest.mark.parametrize(("kind", "fits"), [("yarn", False), ("linear", True)])
def test_yarn_is_not_multiplied_and_linear_scaling_is(
    tiny_llama: Path, tmp_path: Path, kind: str, fits: bool
) -> None:
    model = configured(tiny_llama, tmp_path, rope_scaling={"rope_type": kind, "factor": 4.0})

    def read() -> int:
        return read_config(model, "m", dtype="auto", max_model_len=8192, allow_longer=False).max_model_len

    if fits:
        assert read() == 8192
    else:
        with pytest.raises(
            ValueError, match=r"max_model_len \(8192\) is greater than the derived max_model_len"
        ):
            read()


def configured(model: Path, folder: Path, **config: Any) -> Path:
    """A copy of the model with other values in its config.json."""
    copy = Path(shutil.copytree(model, folder / "configured"))
    known = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(known | config))
    return copy


def test_a_folder_without_weights_is_refused(fail: Fail, tiny_llama: Path, tmp_path: Path) -> None:
    model = shutil.copytree(tiny_llama, tmp_path / "m", ignore=shutil.ignore_patterns("*.safetensors*"))
    code, text = fail(model)
    assert code == 1
    assert "RuntimeError: Cannot find any model weights with" in text


def test_a_folder_without_a_tokenizer_is_refused(fail: Fail, tiny_llama: Path, tmp_path: Path) -> None:
    model = shutil.copytree(tiny_llama, tmp_path / "m", ignore=shutil.ignore_patterns("tokenizer*"))
    code, text = fail(model)
    assert code == 1
    assert "OSError: Can't load tokenizer for" in text


def test_a_folder_that_does_not_exist_is_refused(fail: Fail, tmp_path: Path) -> None:
    code, text = fail(tmp_path / "absent")
    assert code == 1
    assert "Invalid repository ID or local directory specified" in text


def test_a_hub_id_is_found_in_the_cache_by_its_revision(tiny_llama: Path, tmp_path: Path) -> None:
    sha = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "hub" / "models--acme--tiny"
    shutil.copytree(tiny_llama, repository / "snapshots" / sha)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(sha)
    env = {"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    found = [find_model("acme/tiny", revision, env, None) for revision in (None, "main", sha)]
    assert found == [repository / "snapshots" / sha] * 3


def test_a_hub_id_that_is_not_cached_is_refused_offline(fail: Fail, tmp_path: Path) -> None:
    code, text = fail("acme/absent", env={"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"})
    assert code == 1
    assert "HF_HUB_OFFLINE=1" in text


def test_a_length_beyond_the_models_is_refused(fail: Fail, tiny_llama: Path) -> None:
    code, text = fail(tiny_llama, "--max-model-len", "4096")
    assert code == 1
    assert "User-specified max_model_len (4096) is greater than the derived max_model_len" in text


def test_a_kv_cache_too_small_for_one_request_ends_the_engine(fail: Fail, tiny_llama: Path) -> None:
    code, text = fail(tiny_llama, "--enforce-eager", env={"SLIPWAY_SANDBOX_GPU_MEMORY_MIB": "283"})
    assert code == 1
    assert "ValueError: To serve at least one request with the model's max seq len (2048)" in text
    assert "larger than the available KV cache memory" in text


def test_an_8b_model_fits_an_a10g_with_a_short_context_only() -> None:
    assert plan(22.06, 8192) > 8192
    with pytest.raises(ValueError, match=r"max seq len \(131072\), \(16\.0 GiB KV cache is needed"):
        plan(22.06, 131072)


def test_weights_larger_than_the_gpu_are_out_of_memory() -> None:
    with pytest.raises(OutOfMemoryError, match=r"GPU 0 has a total capacity of 22\.06 GiB"):
        plan(22.06, 8192, weights=30.0)


def test_tensor_parallelism_shares_the_weights() -> None:
    assert plan(22.06, 8192, weights=30.0, parallel=2) > 8192


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("engine-oom", "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 224.00 MiB."),
        ("engine-crash", "RuntimeError: CUDA error: an illegal memory access was encountered"),
    ],
)
def test_a_fault_while_loading_ends_with_its_traceback(
    fail: Fail, tiny_llama: Path, tmp_path: Path, fault: str, said: str
) -> None:
    Faults(tmp_path / "faults.json").set(fault, target="tiny")
    code, text = fail(tiny_llama)
    assert code == 1
    assert said in text


@pytest.mark.parametrize(("ranks", "first"), [("1", "(EngineCore "), ("2", "(Worker_TP0 ")])
def test_a_start_that_fails_writes_as_much_after_its_cause_as_a_real_one(
    fail: Fail, tiny_llama: Path, tmp_path: Path, ranks: str, first: str
) -> None:
    """A real start of one rank has its cause 94 lines from the end (its own frames are more), and 119 where a worker failed."""
    Faults(tmp_path / "faults.json").set("engine-crash", target="tiny")
    _, text = fail(tiny_llama, "--tensor-parallel-size", ranks, env={"SLIPWAY_SANDBOX_GPUS": ranks})
    lines = text.splitlines()
    cause = next(at for at, line in enumerate(lines) if "CUDA error: an illegal memory access" in line)
    assert lines[cause].startswith(first)
    assert len(lines) - cause > (70 if ranks == "1" else 115)
    assert "See root cause above" in lines[-1]


def test_a_service_called_vllm_breaks_vllm_port(fail: Fail, tiny_llama: Path) -> None:
    code, text = fail(tiny_llama, env={"VLLM_PORT": "tcp://127.77.100.1:8000"})
    assert code == 1
    assert "VLLM_PORT 'tcp://127.77.100.1:8000' appears to be a URI" in text


def test_without_a_gpu_no_device_type_is_inferred(fail: Fail, tiny_llama: Path) -> None:
    code, text = fail(tiny_llama, env={"SLIPWAY_SANDBOX_GPUS": "0"})
    assert code == 1
    assert "Failed to infer device type" in text


def test_a_taken_port_fails_at_once(fail: Fail, tiny_llama: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        code, text = fail(tiny_llama, "--port", str(taken.getsockname()[1]))
    assert code == 1
    assert "Address already in use" in text


def test_a_rank_that_fails_alone_cuts_the_others_off(fail: Fail, tiny_llama: Path, tmp_path: Path) -> None:
    Faults(tmp_path / "faults.json").set("engine-rank-crash", target="tiny", value=1)
    code, text = fail(tiny_llama, "--tensor-parallel-size", "2", env={"SLIPWAY_SANDBOX_GPUS": "2"})
    assert code == 1
    said = [line for line in text.splitlines() if "RuntimeError:" in line and "Worker_TP" in line]
    assert ["Connection closed" in line for line in said] == [True, False]
    assert said[1].startswith("(Worker_TP1 ")
