"""Starts and ends a sandbox: one supervising process, its children, and the files that say where they are.

.sandbox/settings.json    ports, addresses, speeds
.sandbox/env              shell-sourceable: what any AWS, hub, kubectl or Prefect client needs
.sandbox/processes.json   the supervisor and its children, with their start times
.sandbox/logs/*.log
"""

from __future__ import annotations

import argparse
import ctypes
import errno
import fcntl
import http.client
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from slipway_sandbox.control_plane.credentials import KubeconfigError, check, read
from slipway_sandbox.prefect_store import lay_out
from slipway_sandbox.settings import EngineTiming, Settings
from slipway_sandbox.terraform.install import install

READY_SECONDS = 30.0
PREFECT_READY_SECONDS = 90.0
STOP_SECONDS = 20.0
PR_SET_PDEATHSIG = 1  # linux/prctl.h


class SandboxError(Exception):
    """The sandbox cannot do what was asked; the text says what to do."""


@dataclass(frozen=True)
class Status:
    """`running` children by name; empty where the sandbox is down."""

    root: Path
    pid: int | None
    running: Mapping[str, int]


def free_ports(count: int) -> list[int]:
    """Ports nobody listens on now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def free_network() -> str:
    """A block 127.N no other sandbox holds: each binds the block's last address while it runs."""
    for number in range(32, 250):
        with socket.socket() as probe:
            try:
                probe.bind((f"127.{number}.255.254", 9))
            except OSError:
                continue
            return f"127.{number}"
    raise SandboxError("every block 127.32 to 127.249 is taken by another sandbox")


def plan_settings(
    root: Path, *, prefect_port: int | None = None, fast: bool = False, kubeconfig: Path | None = None
) -> Settings:
    """Free ports for a new sandbox. Raises SandboxError where a port that was asked for is taken."""
    if prefect_port is not None:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", prefect_port))
            except OSError:
                raise SandboxError(
                    f"port {prefect_port} on 127.0.0.1 is taken; `ss -ltnp 'sport = :{prefect_port}'` says by "
                    "whom. Choose another with --port, or leave it out and a free one is taken"
                ) from None
    ports = free_ports(6)
    settings = Settings(
        root=root,
        network=free_network(),
        aws_port=ports[0],
        control_port=ports[1],
        hub_port=ports[2],
        cdn_port=ports[3],
        metrics_port=ports[4],
        prefect_port=prefect_port or ports[5],
        kubeconfig=str(kubeconfig) if kubeconfig else None,
    )
    if fast:
        quick = {"cluster_boot_seconds": 0.5, "nodegroup_boot_seconds": 0.3, "node_boot_seconds": 0.3}
        return Settings(**{**vars(settings), **quick, "engine": EngineTiming(load_seconds=0.2)})
    return settings


def environment_of(settings: Settings, tools: Mapping[str, str]) -> dict[str, str]:
    """Everything `.sandbox/env` exports; `tools` is what makes terraform and helm work."""
    return {
        **settings.aws_environment(),
        "HF_ENDPOINT": settings.hub_url,
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


def read_environment(root: Path) -> dict[str, str]:
    """`.sandbox/env` as a mapping. Raises SandboxError where there is none."""
    file = root / "env"
    if not file.exists():
        raise SandboxError(f"no sandbox at {root}: `slipway sandbox up --detach` starts one")
    found = {}
    for line in file.read_text().splitlines():
        if line.startswith("export "):
            name, _, value = line.removeprefix("export ").partition("=")
            found[name] = shlex.split(value)[0] if value else ""
    return found


def write_environment(root: Path, values: Mapping[str, str]) -> None:
    lines = ["# A Slipway sandbox. `. .sandbox/env` makes any AWS, hub, kubectl or Prefect client use it."]
    lines += [f"export {name}={shlex.quote(value)}" for name, value in values.items()]
    file = root / "env"
    file.write_text("\n".join(lines) + "\n")
    file.chmod(0o600)


# One heap a process: glibc gives every thread its own, and each keeps what its busiest request once needed.
ALLOCATOR = {"MALLOC_ARENA_MAX": "1"}


class Supervisor:
    """The children of one sandbox. `run` serves until SIGTERM; a child that dies ends the whole."""

    def __init__(self, settings: Settings, *, prefect: bool = True) -> None:
        self._settings = settings
        self._prefect = prefect
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._stop = False
        self._network_lock = socket.socket()

    def run(self) -> int:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda *_: setattr(self, "_stop", True))
        self._take_network()
        settings, root = self._settings, self._settings.root
        for stale in ("env", "ready", "kubeconfig"):
            (root / stale).unlink(missing_ok=True)
        for folder in ("clusters", "s3", "volumes", "pods", "prefect"):
            shutil.rmtree(root / folder, ignore_errors=True)
        settings.faults_file.unlink(missing_ok=True)
        settings.save()
        try:
            if self._prefect:  # first: it takes longest to start, and needs nothing of the others
                self._start("prefect", *self._prefect_server(environment_of(settings, {})))
            values = environment_of(settings, install(root))
            self._start("aws", [sys.executable, "-m", "slipway_sandbox.aws", "--root", str(root)], values)
            self._start(
                "region", [sys.executable, "-m", "slipway_sandbox.region", "--root", str(root)], values
            )
            self._record()
            self._wait_for("aws", f"{settings.aws_url}/moto-api/", READY_SECONDS)
            self._wait_for("region", f"{settings.control_url}/healthz", READY_SECONDS)
            write_environment(root, values)
            if self._prefect:
                self._wait_for("prefect", f"{settings.prefect_url}/health", PREFECT_READY_SECONDS)
            (root / "ready").write_text("ready\n")
            while not self._stop:
                self._check()
                time.sleep(0.2)
        except SandboxError as error:
            if not self._stop:
                (root / "failed").write_text(str(error))
                print(error, file=sys.stderr, flush=True)
                return 1
        finally:
            self._end()
        return 0

    def _take_network(self) -> None:
        """The block that was free when this was planned, or the next where another sandbox was quicker."""
        while True:
            try:
                self._network_lock.bind((f"{self._settings.network}.255.254", 9))
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
                self._settings = replace(self._settings, network=free_network())
            else:
                return

    def _prefect_server(self, values: Mapping[str, str]) -> tuple[list[str], dict[str, str]]:
        port, home = str(self._settings.prefect_port), self._settings.root / "prefect"
        # what `prefect server start` runs, without the 1.3 s of CPU its command line takes to import
        app = ["--factory", "prefect.server.api.server:create_app", "--log-level", "warning"]
        command = [sys.executable, "-m", "uvicorn", *app, "--host", "127.0.0.1", "--port", port]
        return command, {
            **values,
            **lay_out(home),
            "PREFECT__SERVER_FINAL": "1",
            "PREFECT_HOME": str(home),
            "PREFECT_SERVER_API_HOST": "127.0.0.1",
            "PREFECT_SERVER_API_PORT": port,
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_SERVER_UI_V2_ENABLED": "false",
            "PREFECT_LOGGING_SERVER_LEVEL": "WARNING",
        }

    def _start(self, name: str, command: list[str], values: Mapping[str, str]) -> None:
        logs = self._settings.root / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        parent = os.getpid()

        def follow_parent() -> None:  # runs in the child before exec: it must not outlive its supervisor
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
            if os.getppid() != parent:
                os._exit(1)

        with (logs / f"{name}.log").open("wb") as log:
            self._children[name] = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **ALLOCATOR, **values},
                start_new_session=True,
                preexec_fn=follow_parent if sys.platform == "linux" else None,
            )

    def _wait_for(self, name: str, url: str, patience: float) -> None:
        deadline = time.monotonic() + patience
        while True:
            self._check()
            if _answers(url):
                return
            if self._stop:
                raise SandboxError("stopped while starting")
            if time.monotonic() >= deadline:
                raise SandboxError(
                    f"{name} did not answer at {url} within {patience:.0f} s; {self._tail(name)}"
                )
            time.sleep(0.05)

    def _check(self) -> None:
        for name, child in self._children.items():
            if child.poll() is not None:
                raise SandboxError(f"{name} ended with exit code {child.returncode}; {self._tail(name)}")

    def _tail(self, name: str) -> str:
        file = self._settings.root / "logs" / f"{name}.log"
        lines = file.read_text(errors="replace").splitlines()[-8:] if file.exists() else []
        return "\n  ".join([f"{file} ends with:", *lines])

    def _record(self) -> None:
        document = {
            "supervisor": {"pid": os.getpid(), "began": began(os.getpid())},
            **{n: {"pid": c.pid, "began": began(c.pid)} for n, c in self._children.items()},
        }
        (self._settings.root / "processes.json").write_text(json.dumps(document))

    def _end(self) -> None:
        """The region first: it ends the pods. Then AWS and Prefect."""
        for name in ("region", "aws", "prefect"):
            child = self._children.get(name)
            if child is None or child.poll() is not None:
                continue
            child.terminate()
            try:
                child.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait(5)
        for stale in ("env", "ready", "processes.json", "kubeconfig"):
            (self._settings.root / stale).unlink(missing_ok=True)


def _answers(url: str) -> bool:
    """Whether somebody is there who does not answer with a server's error."""
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({})
    )  # loopback never goes through a proxy
    try:
        with opener.open(url, timeout=2):
            return True
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code < 500
    except (OSError, http.client.HTTPException):
        return False


def began(pid: int) -> str:
    """The kernel's start time of a process; "" where it is gone. Process ids come again, these do not."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return "" if fields[0] == "Z" else fields[19]


def status(root: Path) -> Status:
    """Which processes of the sandbox at `root` live."""
    file = root / "processes.json"
    if not file.exists():
        return Status(root, None, {})
    known = json.loads(file.read_text())
    living = {
        name: entry["pid"]
        for name, entry in known.items()
        if entry["began"] and began(entry["pid"]) == entry["began"]
    }
    return Status(root, living.pop("supervisor", None), living)


def up(
    root: Path,
    *,
    prefect: bool = True,
    prefect_port: int | None = None,
    fast: bool = False,
    kubeconfig: Path | None = None,
) -> float:
    """Start a sandbox in the background and wait until it is ready; the seconds that took.

    `kubeconfig` names a control plane to use instead of the embedded one. Raises SandboxError where one runs at
    `root` already, a port is taken, the control plane does not answer, or a part does not start.
    """
    root = root.resolve()
    if kubeconfig:
        kubeconfig = kubeconfig.resolve()
        try:
            check(read(kubeconfig))
        except KubeconfigError as error:
            raise SandboxError(str(error)) from error
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (root / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if status(root).pid:
            raise SandboxError(f"a sandbox runs at {root} already; `slipway sandbox down` ends it")
        start = time.monotonic()
        for stale in ("failed", "ready"):
            (root / stale).unlink(missing_ok=True)
        plan_settings(root, prefect_port=prefect_port, fast=fast, kubeconfig=kubeconfig).save()
        command = [sys.executable, "-m", "slipway_sandbox.supervisor", "--root", str(root)]
        with (root / "supervisor.log").open("wb") as log:
            child = subprocess.Popen(
                command if prefect else [*command, "--no-prefect"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        deadline = time.monotonic() + READY_SECONDS + PREFECT_READY_SECONDS
        while not (root / "ready").exists():
            if child.poll() is not None:
                failed = root / "failed"
                raise SandboxError(
                    failed.read_text() if failed.exists() else (root / "supervisor.log").read_text()[-2000:]
                )
            if time.monotonic() >= deadline:
                child.terminate()
                raise SandboxError(f"the sandbox did not get ready; logs are in {root}/logs")
            time.sleep(0.05)
        return time.monotonic() - start


def down(root: Path) -> bool:
    """End every process of the sandbox at `root`, and only those; False where none ran."""
    root = root.resolve()
    found = status(root)
    if found.pid is None and not found.running:
        return False
    everyone = [*found.running.values()] + ([found.pid] if found.pid else [])
    # the supervisor ends its own children; a worker was started beside it
    direct = [pid for name, pid in found.running.items() if name == "worker" or found.pid is None]
    for pid in [*direct, *([found.pid] if found.pid else [])]:
        os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + 3 * STOP_SECONDS
    while any(began(pid) for pid in everyone):
        if time.monotonic() >= deadline:
            raise SandboxError(f"processes {everyone} of the sandbox at {root} did not end")
        time.sleep(0.05)
    (root / "processes.json").unlink(missing_ok=True)
    return True


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m slipway_sandbox.supervisor")
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--no-prefect", action="store_true")
    given = parser.parse_args()
    settings = Settings.load(given.root.resolve())
    sys.exit(Supervisor(settings, prefect=not given.no_prefect).run())


if __name__ == "__main__":
    main()
