"""A tiny Llama made on the spot, and vLLM and nginx stand-ins as the processes a pod would run."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy
import pytest
from safetensors.numpy import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from slipway_sandbox.faults import Faults
from slipway_sandbox.loopback import free_port
from slipway_sandbox.settings import EngineTiming, Settings

REPOSITORY = Path(__file__).resolve().parents[3]
START_SECONDS = 60.0  # on a busy machine; a start that fails ends the wait at once
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "vocab_size": 512,
    "max_position_embeddings": 2048,
    "torch_dtype": "bfloat16",
    "bos_token_id": 0,
    "eos_token_id": 1,
}


def write_tokenizer(folder: Path) -> None:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    words = "the quick brown fox jumps over the lazy dog and serves another request to a waiting client " * 30
    trainer = trainers.BpeTrainer(
        vocab_size=512,
        special_tokens=["<s>", "</s>", "<pad>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([words], trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"bos_token": "<s>", "eos_token": "</s>", "chat_template": TEMPLATE}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def write_model(folder: Path) -> Path:
    """A two-layer Llama in two shards with an index."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    write_tokenizer(folder)
    first = {"model.embed_tokens.weight": numpy.zeros((512, 64), numpy.float16)}
    second = {f"model.layers.{i}.mlp.up_proj.weight": numpy.zeros((128, 64), numpy.float16) for i in range(2)}
    weight_map: dict[str, str] = {}
    for index, shard in enumerate((first, second), 1):
        name = f"model-{index:05d}-of-00002.safetensors"
        save_file(shard, folder / name)
        weight_map |= dict.fromkeys(shard, name)
    document = {"metadata": {}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(document))
    return folder


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("models") / "tiny")


@dataclass
class Pod:
    """One program of slipway_sandbox.images as a process, with what it printed."""

    process: subprocess.Popen[str]
    port: int
    log: Path
    root: Path
    faults: Faults = field(init=False)

    def __post_init__(self) -> None:
        self.faults = Faults(self.root / "faults.json")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def printed(self) -> str:
        return self.log.read_text("utf-8")

    def wait(self, seconds: float = START_SECONDS) -> int:
        """The exit code."""
        return self.process.wait(seconds)

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def until_ready(self, path: str = "/health", seconds: float = START_SECONDS) -> Pod:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.printed()
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(self.url + path, trust_env=False).status_code < 500:
                    return self
            time.sleep(0.02)
        raise AssertionError(f"not ready in {seconds:g} s:\n{self.printed()}")


Launch = Callable[..., Pod]


@pytest.fixture(scope="session")
def launch_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launch]:
    yield from _launcher(tmp_path_factory)


@pytest.fixture
def launch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launch]:
    """`launch("slipway_sandbox.images.vllm", args, timing=…, env=…)` starts a pod that ends with the test."""
    yield from _launcher(tmp_path_factory)


def _launcher(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launch]:
    pods: list[Pod] = []

    def start(
        module: str,
        args: list[str],
        *,
        port: int | None = None,
        timing: EngineTiming | None = None,
        env: dict[str, str] | None = None,
        faults: dict[str, dict[str, Any]] | None = None,
        program: str | None = None,
    ) -> Pod:
        root = tmp_path_factory.mktemp("sandbox")
        write_settings(root, timing or EngineTiming(0.05, 0.02, 0.030, 0.004), program)
        for name, options in (faults or {}).items():
            Faults(root / "faults.json").set(name, **options)
        log = root / "log"
        base = {k: v for k, v in os.environ.items() if k in ("PATH", "PYTHONPATH", "HOME", "LANG")}
        base |= {"SLIPWAY_SANDBOX_ROOT": str(root), "SLIPWAY_SANDBOX_POD_IP": "127.0.0.1"}
        with log.open("a") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", module, *args],
                stdout=out,
                stderr=subprocess.STDOUT,
                env=base | (env or {}),
                cwd=REPOSITORY,
                text=True,
                start_new_session=True,
            )
        pods.append(Pod(process, port or 0, log, root))
        return pods[-1]

    yield start
    for pod in pods:
        # with all it started: a real vLLM's engine outlives its API server
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pod.process.pid, signal.SIGKILL)
        pod.process.wait(10)


def write_settings(root: Path, timing: EngineTiming, program: str | None = None) -> None:
    ports = dict.fromkeys(
        ("aws_port", "control_port", "hub_port", "cdn_port", "metrics_port", "prefect_port"), 1
    )
    Settings(
        root=root,
        network="127.77",
        engine=timing,
        engine_program=program,
        **ports,  # type: ignore[arg-type]
    ).save()


Serve = Callable[..., Pod]


def serving(launch: Launch, model: Path) -> Serve:
    def start(*flags: str, name: str = "tiny", **options: Any) -> Pod:
        port = free_port()
        args = ["serve", str(model), "--served-model-name", name, "--port", str(port)]
        return launch("slipway_sandbox.images.vllm", [*args, *flags], port=port, **options)

    return start


@pytest.fixture
def serve(launch: Launch, tiny_llama: Path) -> Serve:
    """`serve("--max-num-seqs", "2")`: a vLLM of the tiny model, not waited for."""
    return serving(launch, tiny_llama)


@pytest.fixture(scope="session")
def vllm(launch_session: Launch, tiny_llama: Path) -> Pod:
    """One vLLM as the golden transcripts had it: `tiny`, 512 tokens of context."""
    return serving(launch_session, tiny_llama)(
        "--max-model-len", "512", env={"HOSTNAME": "vllm-0"}
    ).until_ready()
