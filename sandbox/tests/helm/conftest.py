from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import helm_python
import pytest

REPOSITORY = Path(__file__).resolve().parents[3]


@dataclass(frozen=True)
class Finished:
    code: int
    out: str
    err: str


Helm = Callable[..., Finished]


@pytest.fixture(scope="session")
def kubeconfig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An API server without controllers: what is applied is stored, and never gets ready."""
    path = tmp_path_factory.mktemp("kubernetes") / "kubeconfig"
    command = [sys.executable, "-m", "slipway_sandbox.kubernetes", "--token", "t", "--kubeconfig", str(path)]
    process = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 30
        while not (path.exists() and path.stat().st_size):
            assert process.poll() is None, "slipway_sandbox.kubernetes ended"
            assert time.monotonic() < deadline, "slipway_sandbox.kubernetes wrote no kubeconfig"
            time.sleep(0.05)
        yield path
    finally:
        process.terminate()
        process.wait(timeout=10)


@pytest.fixture(scope="session")
def chart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`helm create`'s chart: a Deployment, a Service, a service account and a test hook."""
    folder = tmp_path_factory.mktemp("chart")
    helm_python.Chart.create("demo", folder)
    return folder / "demo"


@pytest.fixture
def helm(kubeconfig: Path) -> Helm:
    def run(*arguments: str) -> Finished:
        command = [sys.executable, "-m", "slipway_sandbox.helm", *arguments]
        environment = {**os.environ, "KUBECONFIG": str(kubeconfig)}
        done = subprocess.run(
            command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False, timeout=60
        )
        return Finished(done.returncode, done.stdout, done.stderr)

    return run
