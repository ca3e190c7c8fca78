"""The generators under test: how each is told the same load, run on one core, and what it reports of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.programs import STOPPED, wait
from tasks.cloud.programs import files_of
from tasks.records.load import Load
from tasks.records.objectives import EachRequest
from tasks.validation.proof import instructions_for
from tools.real_engine import install

PROJECT = Path(__file__).resolve().parents[2]
PATIENCE = 90.0  # seconds a tool may take beyond its window
WORDS = 8  # of a prompt


@dataclass(frozen=True)
class Ask:
    """A load: `rate` requests a second, or `concurrency` callers; `seconds` long, `tokens` an answer."""

    url: str
    seconds: float
    tokens: int
    rate: float | None = None
    concurrency: int | None = None
    # what the server takes for an answer, for a tool that is told a number of requests
    answer_seconds: float = 1.0


@dataclass(frozen=True)
class Told:
    """What a tool says, in milliseconds, None where it says nothing; and what it took."""

    ttft_p50: float | None
    ttft_p99: float | None
    tpot_p50: float | None
    wall: float
    cpu: float


class Tool(ABC):
    """`name` is its key in the figures."""

    name: str
    environment: Mapping[str, str] = {}

    def __init__(self, cache: Path, tokenizer: Path) -> None:
        self.cache, self.tokenizer = cache, tokenizer

    @abstractmethod
    def install(self) -> None:
        """Where it is not there yet."""

    @abstractmethod
    def command(self, ask: Ask, folder: Path) -> list[str]:
        """argv for this load, its results below `folder`."""

    @abstractmethod
    def read(self, folder: Path, output: str) -> tuple[float | None, float | None, float | None]:
        """First token at p50 and p99, time per output token at p50, in milliseconds."""

    def run(self, ask: Ask, folder: Path, core: int, patience: float = PATIENCE) -> Told:
        """On that core, `patience` seconds beyond its window at most. Raises RuntimeError with the end of its output."""
        folder.mkdir(parents=True, exist_ok=True)
        log = folder / "output"
        environment = {
            **os.environ,
            "SLIPWAY_API_KEY": "bench",
            "OMP_NUM_THREADS": "1",
            "DO_NOT_TRACK": "1",
            **self.environment,
        }
        began = time.monotonic()
        with log.open("w") as sink:
            process = subprocess.Popen(
                self.command(ask, folder),
                cwd=PROJECT if self.name == "slipway" else folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=lambda: os.sched_setaffinity(0, {core}),
            )
        code, cpu = wait(process, ask.seconds + patience)
        wall = time.monotonic() - began
        output = log.read_text(errors="replace")
        if code:
            what = (
                f"took more than {patience:g} s beyond its window"
                if code == STOPPED
                else f"ended with {code}"
            )
            raise RuntimeError(f"{self.name} {what}:\n{output[-3000:]}")
        return Told(*self.read(folder, output), wall, cpu)


class Slipway(Tool):
    """As the product runs it: a process of its own with a file of instructions."""

    name = "slipway"

    def install(self) -> None:
        """It is this project."""

    def command(self, ask: Ask, folder: Path) -> list[str]:
        size: dict[str, Any] = {"rate": ask.rate} if ask.rate else {"arrivals": "closed"}
        load = {
            **size,
            "concurrency": ask.concurrency,
            "warmup": 0.0,
            "window": ask.seconds,
            "prompt_tokens": {"mean": WORDS},
            "output_tokens": {"mean": ask.tokens},
        }
        told = instructions_for(Load.model_validate(load), f"{ask.url}/v1", "bench", each=EachRequest())
        (folder / "instructions.json").write_text(told.write())
        return [sys.executable, "-m", "tasks.validation.load", str(folder / "instructions.json")]

    def read(self, folder: Path, output: str) -> tuple[float | None, float | None, float | None]:
        measured = json.loads(output.strip().splitlines()[-1])["measured"]
        if measured["failures"]:
            raise RuntimeError(f"slipway counted failures: {measured['failures']}")
        return measured["ttft"]["p50"], measured["ttft"]["p99"], measured["tpot"]["p50"]


class SlipwayJob(Slipway):
    """As the Job in the cluster runs it: the files of its ConfigMap, in a Python with the standard library alone."""

    name = "slipway-job"

    def command(self, ask: Ask, folder: Path) -> list[str]:
        words = super().command(ask, folder)
        for path, text in files_of("tasks.validation.load").items():
            file = folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        return [words[0], "-S", *words[1:]]


class Peer(Tool):
    """One from PyPI."""

    package: str

    @property
    def home(self) -> Path:
        return self.cache / self.name

    def install(self) -> None:
        """Into a virtual environment of its own, once."""
        if (self.home / "bin" / self.name).exists():
            return
        print(f"installing {self.package} into {self.home}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(self.home)], check=True, timeout=120)
        uv = [str(Path(sys.executable).with_name("uv")), "pip", "install", "--quiet", "--system-certs"]
        subprocess.run(
            [*uv, "--python", str(self.home / "bin" / "python"), self.package], check=True, timeout=1200
        )


class AIPerf(Peer):
    """https://github.com/ai-dynamo/aiperf. Its inter-token latency is (end - first) / (n - 1) a request: our TPOT."""

    name, package = "aiperf", "aiperf==0.13.0"

    def command(self, ask: Ask, folder: Path) -> list[str]:
        size = (
            ["--request-rate", f"{ask.rate:g}", "--arrival-pattern", "poisson"]
            if ask.rate
            else ["--concurrency", str(ask.concurrency)]
        )
        return [
            str(self.home / "bin" / "aiperf"), "profile", "--model", "bench", "--url", ask.url,
            "--endpoint-type", "chat", "--streaming", "--tokenizer", str(self.tokenizer), *size,
            "--benchmark-duration", f"{ask.seconds:g}", "--isl", str(WORDS), "--osl", str(ask.tokens),
            "--output-artifact-dir", str(folder / "artifacts"), "--ui", "none",
        ]  # fmt: skip

    def read(self, folder: Path, output: str) -> tuple[float | None, float | None, float | None]:
        [file] = (folder / "artifacts").rglob("profile_export_aiperf.json")
        found = json.loads(file.read_text())
        first, gap = found["time_to_first_token"], found["inter_token_latency"]
        return first["p50"], first["p99"], gap["p50"]


class GuideLLM(Peer):
    """https://github.com/vllm-project/guidellm. Its TPOT counts the first token's wait: its ITL is our TPOT."""

    name, package = "guidellm", "guidellm==0.8.1"
    environment = {"HF_HUB_OFFLINE": "1"}  # noqa: RUF012  aiperf, told so, takes a folder for a repo's name

    def command(self, ask: Ask, folder: Path) -> list[str]:
        profile = (
            f"kind=poisson,rate={ask.rate:g}" if ask.rate else f"kind=concurrent,streams={ask.concurrency}"
        )
        return [
            str(self.home / "bin" / "guidellm"), "run",
            "--backend", f"kind=openai_http,target={ask.url},model=bench",
            "--profile", profile,
            "--constraint", f"kind=max_duration,seconds={ask.seconds:g}",
            "--tokenizer", f"kind=huggingface_auto,model={self.tokenizer}",
            "--data", f"kind=synthetic_text,prompt_tokens={WORDS},output_tokens={ask.tokens}",
            "--output", f"kind=json,path={folder / 'report.json'}", "--disable-console",
        ]  # fmt: skip

    def read(self, folder: Path, output: str) -> tuple[float | None, float | None, float | None]:
        metrics = json.loads((folder / "report.json").read_text())["benchmarks"][0]["metrics"]
        first = metrics["time_to_first_token_ms"]["successful"]
        gap = metrics["inter_token_latency_ms"]["successful"]
        return first["percentiles"]["p50"], first["percentiles"]["p99"], gap["percentiles"]["p50"]


class VllmBench(Tool):
    """`vllm bench serve` of the vLLM that `make real-engine` installs. It sends a number of requests, not for a time."""

    name = "vllm-bench"
    environment = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"}  # noqa: RUF012

    @property
    def home(self) -> Path:
        return PROJECT / ".real-engine"

    def install(self) -> None:
        if not (self.home / "bin" / "vllm").exists():
            print(f"installing vLLM into {self.home}", flush=True)
            install(self.home, [])

    def command(self, ask: Ask, folder: Path) -> list[str]:
        size = (
            ["--request-rate", f"{ask.rate:g}"] if ask.rate else ["--max-concurrency", str(ask.concurrency)]
        )
        prompts = ask.seconds * (ask.rate or (ask.concurrency or 1) / ask.answer_seconds)
        return [
            str(self.home / "bin" / "vllm"), "bench", "serve", "--backend", "openai-chat", "--base-url", ask.url,
            "--endpoint", "/v1/chat/completions", "--model", "bench", "--tokenizer", str(self.tokenizer), *size,
            "--num-prompts", str(round(prompts)), "--random-input-len", str(WORDS),
            "--random-output-len", str(ask.tokens), "--ignore-eos", "--disable-tqdm",
            "--percentile-metrics", "ttft,tpot", "--metric-percentiles", "50,99",
            "--save-result", "--result-dir", str(folder), "--result-filename", "result.json",
        ]  # fmt: skip

    def read(self, folder: Path, output: str) -> tuple[float | None, float | None, float | None]:
        found = json.loads((folder / "result.json").read_text())
        return found["p50_ttft_ms"], found["p99_ttft_ms"], found["p50_tpot_ms"]


TOOLS: dict[str, type[Tool]] = {
    tool.name: tool for tool in (Slipway, SlipwayJob, AIPerf, GuideLLM, VllmBench)
}
