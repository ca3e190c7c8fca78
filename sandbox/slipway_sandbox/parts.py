"""Start, watch and end the processes of one sandbox, as children of this process."""

from __future__ import annotations

import ctypes
import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path

from slipway_sandbox.loopback import hold_network
from slipway_sandbox.prefect_store import lay_out
from slipway_sandbox.settings import SandboxError, Settings
from slipway_sandbox.terraform.activation import Activation
from slipway_sandbox.terraform.install import install

# In the order they are started: Prefect takes longest, and needs nothing of the others. The region has a hub of its own.
PARTS = ("prefect", "aws", "hub", "region")
EVERYTHING = ("aws", "region", "prefect")
READY_SECONDS = 90.0  # for each; on a quiet machine the slowest takes about four
STOP_SECONDS = 20.0
# One heap a process: glibc gives every thread its own, and each keeps what its busiest request once needed.
ALLOCATOR = {"MALLOC_ARENA_MAX": "1"}
PR_SET_PDEATHSIG = 1  # linux/prctl.h


class Parts:
    """Processes of one sandbox. `start` empties its folder of what an earlier one left; `settings` may then have changed."""

    def __init__(
        self, settings: Settings, names: Collection[str], environment: Mapping[str, str] | None = None
    ) -> None:
        self.settings = settings
        self.names = [name for name in PARTS if name in names]
        self.children: dict[str, subprocess.Popen[bytes]] = {}
        self.variables: dict[str, str] = {}
        self._more = dict(environment or {})
        self._network_lock: socket.socket | None = None
        self._provider: Activation | None = None

    def start(self) -> None:
        """Start every process; they are not ready yet. Raises SandboxError."""
        network, self._network_lock = hold_network(self.settings.network)
        self.settings = replace(self.settings, network=network)
        root = self.settings.root
        for stale in ("env", "ready", "kubeconfig"):
            (root / stale).unlink(missing_ok=True)
        for folder in ("clusters", "s3", "volumes", "pods", "prefect"):
            shutil.rmtree(root / folder, ignore_errors=True)
        self.settings.faults_file.unlink(missing_ok=True)
        self.settings.save()
        self.variables = environment_of(self.settings, {})
        if "prefect" in self.names:
            self._start("prefect")
        self.variables |= install(root)
        if (root / "terraform" / "mirror").exists():
            self._provider = Activation(root / "terraform", {**os.environ, **ALLOCATOR}, _follower())
        for name in self.names:
            if name not in self.children:
                self._start(name)

    def wait(self, *names: str, stopping: Callable[[], bool] = lambda: False) -> None:
        """Until these answer, or all of them. Raises SandboxError where one ends, is too slow, or `stopping` says so."""
        for name in names or self.names:
            deadline = time.monotonic() + READY_SECONDS
            while not _answers(self._address(name)):
                self.check()
                if stopping():
                    raise SandboxError("stopped while starting")
                if time.monotonic() >= deadline:
                    raise SandboxError(
                        f"{name} did not answer at {self._address(name)} within {READY_SECONDS:.0f} s; {self._tail(name)}"
                    )
                time.sleep(0.05)

    def check(self) -> None:
        """Raises SandboxError where a process has ended."""
        for name, child in self.children.items():
            if child.poll() is not None:
                raise SandboxError(f"{name} ended with exit code {child.returncode}; {self._tail(name)}")

    def stop(self) -> None:
        """End the region first, because it ends the pods; then the others."""
        for name in sorted(self.children, key=lambda name: name != "region"):
            child = self.children[name]
            if child.poll() is None:
                child.terminate()
                try:
                    child.wait(STOP_SECONDS)
                except subprocess.TimeoutExpired:
                    os.killpg(child.pid, signal.SIGKILL)
                    child.wait(5)
        if self._provider:
            self._provider.close()
        if self._network_lock:
            self._network_lock.close()

    def _start(self, name: str) -> None:
        variables = {**self.variables, **self._more}
        if name == "prefect":
            command, more = self._prefect()
            variables |= more
        else:
            command = [sys.executable, "-m", f"slipway_sandbox.{name}", "--root", str(self.settings.root)]
        if name == "aws" and "region" not in self.names:
            variables["SLIPWAY_SANDBOX_NO_REGION"] = "1"
        self._log(name).parent.mkdir(parents=True, exist_ok=True)
        with self._log(name).open("wb") as log:
            self.children[name] = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **ALLOCATOR, **variables},
                start_new_session=True,
                preexec_fn=_follower(),
            )

    def _prefect(self) -> tuple[list[str], dict[str, str]]:
        port, home = str(self.settings.prefect_port), self.settings.root / "prefect"
        # what `prefect server start` runs, without the 1.3 s of CPU its command line takes to import
        app = ["--factory", "prefect.server.api.server:create_app", "--log-level", "warning"]
        command = [sys.executable, "-m", "uvicorn", *app, "--host", "127.0.0.1", "--port", port]
        return command, {
            **lay_out(home),
            "PREFECT__SERVER_FINAL": "1",
            "PREFECT_HOME": str(home),
            "PREFECT_SERVER_API_HOST": "127.0.0.1",
            "PREFECT_SERVER_API_PORT": port,
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_LOGGING_SERVER_LEVEL": "WARNING",
        }

    def _address(self, name: str) -> str:
        return {
            "aws": f"{self.settings.aws_url}/moto-api/",
            "hub": self.settings.hub_url,
            "region": f"{self.settings.control_url}/healthz",
            "prefect": f"{self.settings.prefect_url}/health",
        }[name]

    def _log(self, name: str) -> Path:
        return self.settings.root / "logs" / f"{name}.log"

    def _tail(self, name: str) -> str:
        file = self._log(name)
        lines = file.read_text(errors="replace").splitlines()[-8:] if file.exists() else []
        return "\n  ".join([f"{file} ends with:", *lines])


def environment_of(settings: Settings, tools: Mapping[str, str]) -> dict[str, str]:
    """Variables that make any AWS, hub, kubectl or Prefect client use the sandbox; `tools` is what `install` returned."""
    return {
        **settings.aws_environment(),
        "AWS_ACCESS_KEY_ID": settings.user_key,
        "HF_ENDPOINT": settings.hub_url,
        "SLIPWAY_REGISTRY_ENDPOINT": settings.hub_url,
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "KUBECONFIG": str(settings.root / "kubeconfig"),
        "PROMETHEUS_URL": settings.metrics_url,
        "PREFECT_API_URL": settings.prefect_url,
        "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",
        "DO_NOT_TRACK": "1",
        "SLIPWAY_SANDBOX_ROOT": str(settings.root),
        **tools,
    }


def _follower() -> Callable[[], None] | None:
    """What a child runs before exec, so that it does not outlive its parent; None where the kernel has nothing for it."""
    if sys.platform != "linux":
        return None
    parent = os.getpid()
    prctl = ctypes.CDLL(None).prctl  # before the fork: the child of a process with threads may take no lock

    def follow() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    return follow


def _answers(url: str) -> bool:
    """Whether somebody is there who does not answer with a server's error."""
    # loopback never goes through a proxy
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=2):
            return True
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code < 500
    except (OSError, http.client.HTTPException):
        return False
