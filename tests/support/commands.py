"""`slipway` run as a person runs it: a process with a terminal's output, in a project of its own, in a sandbox."""

from __future__ import annotations

import base64
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from slipway_sandbox.testing import Faults, Sandbox

from tasks.records.names import KEY_SECRET
from tasks.releases.ledger import Ledger, Serving
from tests.support.builders import ROOT

SLIPWAY = [sys.executable, "-c", "from flows.cli import main; main()"]
PATIENCE = 150.0  # seconds for one command: a whole deploy takes about 30
ENVIRONMENT, CLUSTER, BUCKET, STATE = (
    "sandbox",
    "slipway-sandbox",
    "slipway-sandbox-models",
    "slipway-sandbox-state",
)


@dataclass
class Command:
    """A `slipway` that runs: its output as it comes, and the signals a person or a kernel sends."""

    process: subprocess.Popen[str]
    lines: list[str] = field(default_factory=list)
    _reader: threading.Thread | None = None

    def listen(self) -> Command:
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        return self

    def _read(self) -> None:
        assert self.process.stdout
        self.lines.extend(iter(self.process.stdout.readline, ""))

    @property
    def output(self) -> str:
        return "".join(self.lines)

    def wait_for(self, pattern: str, patience: float = PATIENCE) -> None:
        """Until a line matches. Fails the test where the command ends first."""
        self.wait_until(
            lambda: re.search(pattern, self.output) is not None, f"a line like {pattern!r}", patience
        )

    def wait_until(self, true: Callable[[], bool], what: str, patience: float = PATIENCE) -> None:
        deadline = time.monotonic() + patience
        while not true():
            if self.process.poll() is not None:
                pytest.fail(f"it ended with {self.process.returncode} before {what}:\n{self.output}")
            if time.monotonic() >= deadline:
                pytest.fail(f"no {what} within {patience:.0f} s:\n{self.output}")
            time.sleep(0.01)

    def kill(self) -> None:
        """kill -9 of this one process: what it started is left to itself."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)
        self.close()

    def cut_power(self) -> None:
        """kill -9 of it and of the terraform or helm it runs: their locks and half-made things stay."""
        self.process.send_signal(signal.SIGSTOP)  # or it would tidy up after its child
        tasks = Path(f"/proc/{self.process.pid}/task").glob("*/children")
        children = [int(pid) for task in tasks for pid in task.read_text().split()]
        assert children
        for pid in children:
            os.kill(pid, signal.SIGKILL)
        self.kill()

    def interrupt(self) -> float:
        """Ctrl-C; the seconds until it had ended."""
        began = time.monotonic()
        self.process.send_signal(signal.SIGINT)
        self.process.wait(90)
        took = time.monotonic() - began
        self.close()
        return took

    def end(self, patience: float = PATIENCE) -> int:
        code = self.process.wait(patience)
        self.close()
        return code

    def close(self) -> None:
        """The last lines, and no descriptor left."""
        assert self._reader and self.process.stdout
        self._reader.join(5)
        self.process.stdout.close()
        if log := os.environ.get("SLIPWAY_LIFECYCLE_LOG"):
            with Path(log).open("a") as file:
                file.write(f"== {self.process.args!r} -> {self.process.returncode}\n{self.output}\n")


@dataclass(frozen=True)
class Done:
    code: int
    output: str

    def succeeded(self) -> Done:
        assert self.code == 0, self.output
        return self

    def refused(self, code: int, *said: str) -> Done:
        """One clear error: this exit code, these patterns, a next command, and no traceback."""
        assert self.code == code, self.output
        assert len(re.findall("^error: ", self.output, re.MULTILINE)) == 1, self.output
        assert "  next: " in self.output, self.output
        assert "Traceback" not in self.output, self.output
        for pattern in said:
            assert re.search(pattern, self.output), f"no {pattern!r} in:\n{self.output}"
        return self


@dataclass(frozen=True)
class Region:
    """The sandbox, a project of its own to run in, and a person's view of both."""

    sandbox: Sandbox
    home: Path
    environment: dict[str, str]

    def start(self, *words: str, **variables: str) -> Command:
        process = subprocess.Popen(
            [*SLIPWAY, *words],
            cwd=self.home,
            env={**self.environment, **variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        return Command(process).listen()

    def run(self, *words: str, **variables: str) -> Done:
        command = self.start(*words, **variables)
        try:
            return Done(command.end(), command.output)
        finally:
            if command.process.poll() is None:
                command.kill()

    def deploy(self, model: str = "tiny-llama", *words: str, **variables: str) -> Done:
        return self.run("deploy", model, "-e", ENVIRONMENT, *words, **variables)

    @property
    def faults(self) -> Faults:
        return self.sandbox.faults

    def client(self, service: str) -> Any:
        return self.sandbox.client(service)

    def serving(self, model: str = "tiny-llama") -> Serving:
        return Ledger(self.client("s3"), BUCKET, ENVIRONMENT, model).serving()

    def api(self) -> httpx.Client:
        """The cluster's API, for many looks in a row."""
        return self.sandbox.api(CLUSTER)

    def get(self, path: str, **query: str) -> Any:
        """GET a path of the cluster's API, as the one who made the cluster."""
        with self.api() as api:
            answer = api.get(path, params=query)
        answer.raise_for_status()
        return answer.json()

    def complete(self, model: str = "tiny-llama") -> str:
        """A completion through the gateway, as a caller with the API key gets it."""
        serving = self.serving(model).serving
        assert serving
        record = Ledger(self.client("s3"), BUCKET, ENVIRONMENT, model).record(serving)
        assert record.rollout
        secret = self.get(f"/api/v1/namespaces/llm/secrets/{KEY_SECRET}")
        key = base64.b64decode(next(iter(secret["data"].values()))).decode()
        answer = httpx.post(
            f"{record.rollout.endpoint.base_url}/completions",
            json={"model": model, "prompt": "Hello", "max_tokens": 4},
            headers={"Authorization": f"Bearer {key}"},
            timeout=30,
        )
        answer.raise_for_status()
        return str(answer.json()["choices"][0]["text"])


def copy_project(home: Path) -> None:
    """The checkout's own files with shorter waits: a load window of 3 s, an idle window of 2 s."""
    for name in ("models", "environments", "k8s", "infra", "sandbox/charts", "sandbox/values"):
        shutil.copytree(ROOT / name, home / name, ignore=shutil.ignore_patterns(".terraform"))
    tiny = (home / "models" / "tiny-llama.yaml").read_text()
    for name in ("tiny-llama-gated", "huge-llama"):
        (home / "models" / f"{name}.yaml").write_text(tiny.replace("tiny-llama\n", f"{name}\n"))
    edit(
        home / "models" / "tiny-llama.yaml",
        {
            "load": {"rate": 12, "warmup": "500ms", "window": "3s"},
            # beside a second worker the generator is late by tens of milliseconds: 5 % of the tightest bound
            "objectives": {
                "ttft": {"p95": "1500ms"},
                "e2e": {"p95": "3s"},
                "each": {"ttft": "1500ms", "tpot": "50ms"},
            },
            "scaling": {"idle_after": "2s"},
        },
    )
    edit(
        home / "environments" / "sandbox.yaml",
        {"deadlines": {"node_boot": "20s", "pod_start": "15s", "volume_bind": "15s"}},
    )


def edit(path: Path, changes: dict[str, dict[str, Any]]) -> None:
    document = yaml.safe_load(path.read_text())
    for section, values in changes.items():
        document.setdefault(section, {}).update(values)
    path.write_text(yaml.safe_dump(document, sort_keys=False))
