"""A Prefect server on loopback with a database of its own, and a project with a large catalogue."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import httpx
import yaml
from slipway_sandbox.testing import make_prefect_home

from bench.lifecycle import descendants
from tests.support import postgres
from tests.support.loopback import free_port

ROOT = Path(__file__).resolve().parents[2]
Database = Literal["postgres", "sqlite"]
START_SECONDS = 180.0
# of models, so that an environment has as many schedules to wake them
WAKE_TIMES = 4
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Server:
    """One that runs: its address, its log with a line for each request, its process and that of its database."""

    url: str
    log: Path
    folder: Path
    pids: tuple[int, ...]

    def cpu_seconds(self) -> float:
        """Of server and database since they began, with the children they waited for."""
        return sum(cpu_seconds(pid) for root in self.pids for pid in descendants(root))

    def environment(self) -> dict[str, str]:
        """Of a client of this server and no other."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "AWS_"))}
        return {
            **kept,
            "PREFECT_HOME": str(self.folder / "client"),
            "PREFECT_API_URL": self.url,
            "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",
            "PREFECT_LOGGING_LEVEL": "WARNING",
            "SLIPWAY_HOME": str(self.folder / "project"),
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "sandbox")]),
            "DO_NOT_TRACK": "1",
        }


def cpu_seconds(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return sum(int(ticks) for ticks in fields[11:15]) / TICKS


@contextlib.contextmanager
def running(database: Database, folder: Path) -> Iterator[Server]:
    """Raises TimeoutError where it does not answer, FileNotFoundError without Debian's package postgresql."""
    with contextlib.ExitStack() as stack:
        home = folder / "server"
        given = {
            name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "AWS_"))
        }
        pids: list[int] = []
        if database == "postgres":
            before = set(descendants(os.getpid()))
            given["PREFECT_SERVER_DATABASE_CONNECTION_URL"] = stack.enter_context(postgres.running())
            pids += sorted(set(descendants(os.getpid())) - before)[:1]
            home.mkdir(parents=True)
        else:
            make_prefect_home(home)
        port, log = free_port(), folder / "server.log"
        words = ["-m", "uvicorn", "--factory", "prefect.server.api.server:create_app", "--log-level", "info"]
        with log.open("wb") as file:
            server = subprocess.Popen(
                [sys.executable, *words, "--host", "127.0.0.1", "--port", str(port)],
                env={
                    **given,
                    "PREFECT__SERVER_FINAL": "1",
                    "PREFECT_HOME": str(home),
                    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
                    # Prefect sets uvicorn's logging up anew: a line for each request
                    "PREFECT_SERVER_LOGGING_LEVEL": "INFO",
                },
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
            )
        stack.callback(_end, server)
        url = f"http://127.0.0.1:{port}/api"
        _wait(url, server)
        yield Server(url, log, folder, (*pids, server.pid))


def _wait(url: str, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(f"{url}/health", timeout=2).is_success:
                return
        time.sleep(0.2)
    raise TimeoutError(f"Prefect's server does not answer at {url}")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def write_project(home: Path, models: int, environments: int) -> None:
    """The checkout's project with so many models and environments; each is woken on weekdays, at one of four times."""
    for name in ("k8s", "infra"):
        shutil.copytree(ROOT / name, home / name, ignore=shutil.ignore_patterns(".terraform"))
    for name in ("prefect.yaml", "automations.yaml"):
        shutil.copy(ROOT / name, home / name)
    model: dict[str, Any] = yaml.safe_load((ROOT / "models" / "tiny-llama.yaml").read_text())
    for hour in range(WAKE_TIMES):
        model["scaling"]["wake"] = {"cron": f"0 {6 + hour} * * 1-5", "timezone": "UTC"}
        _write(home / "models", model, [f"model-{number:03}" for number in range(hour, models, WAKE_TIMES)])
    environment: dict[str, Any] = yaml.safe_load((ROOT / "environments" / "sandbox.yaml").read_text())
    del environment["requires"]
    _write(home / "environments", environment, [f"place-{number:02}" for number in range(environments)])


def _write(folder: Path, document: dict[str, Any], names: list[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / f"{name}.yaml").write_text(yaml.safe_dump({**document, "name": name}, sort_keys=False))
