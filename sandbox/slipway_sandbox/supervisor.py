"""Starts and ends a sandbox: one supervising process, its children, and the files that say where they are.

.sandbox/settings.json    ports, addresses, speeds
.sandbox/env              shell-sourceable: what any AWS, hub, kubectl or Prefect client needs
.sandbox/processes.json   the supervisor and its children, with their start times
.sandbox/logs/*.log
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from slipway_sandbox.control_plane.credentials import KubeconfigError, check, read
from slipway_sandbox.loopback import plan_settings
from slipway_sandbox.parts import EVERYTHING, READY_SECONDS, STOP_SECONDS, Parts
from slipway_sandbox.settings import SandboxError as SandboxError
from slipway_sandbox.settings import Settings

REAL_ENGINE = ".real-engine/bin/vllm"  # where `make real-engine` installs one, below the folder it runs in


@dataclass(frozen=True)
class Status:
    """`running` children by name; empty where the sandbox is down."""

    root: Path
    pid: int | None
    running: Mapping[str, int]


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


class Supervisor:
    """The process that holds a sandbox. `run` serves until SIGTERM; a child that dies ends the whole."""

    def __init__(self, settings: Settings, *, prefect: bool = True) -> None:
        self._parts = Parts(settings, [name for name in EVERYTHING if prefect or name != "prefect"])
        self._root = settings.root
        self._stop = False

    def run(self) -> int:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda *_: setattr(self, "_stop", True))
        try:
            self._parts.start()
            self._record()
            self._wait("aws", "region")
            write_environment(self._root, self._parts.variables)
            self._wait(*self._parts.names)
            (self._root / "ready").write_text("ready\n")
            while not self._stop:
                self._parts.check()
                time.sleep(0.2)
        except SandboxError as error:
            if not self._stop:
                (self._root / "failed").write_text(str(error))
                print(error, file=sys.stderr, flush=True)
                return 1
        finally:
            self._parts.stop()
            for stale in ("env", "ready", "processes.json", "kubeconfig"):
                (self._root / stale).unlink(missing_ok=True)
        return 0

    def _wait(self, *names: str) -> None:
        self._parts.wait(*names, stopping=lambda: self._stop)

    def _record(self) -> None:
        pids = {"supervisor": os.getpid(), **{name: c.pid for name, c in self._parts.children.items()}}
        document = {name: {"pid": pid, "began": began(pid)} for name, pid in pids.items()}
        (self._root / "processes.json").write_text(json.dumps(document))


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
    kubeconfig: Path | None = None,
    policies: Path | None = None,
    engine: str | None = None,
) -> float:
    """Start a sandbox in the background and wait until it is ready; the seconds that took.

    `kubeconfig` names a control plane to use instead of the embedded one, `engine` a vLLM that pods run. Raises SandboxError where one runs at
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
        plan_settings(
            root,
            prefect_port=prefect_port,
            kubeconfig=kubeconfig,
            policies=policies,
            engine_program=engine_program(engine) if engine else None,
        ).save()
        command = [sys.executable, "-m", "slipway_sandbox.supervisor", "--root", str(root)]
        with (root / "supervisor.log").open("wb") as log:
            child = subprocess.Popen(
                command if prefect else [*command, "--no-prefect"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        deadline = time.monotonic() + len(EVERYTHING) * READY_SECONDS
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


def engine_program(wanted: str) -> Path:
    """The vLLM of `--engine`: `vllm` is the one that `make real-engine` installs here, or the one on PATH, or a path.

    Raises SandboxError where there is none.
    """
    installed = Path(REAL_ENGINE)
    if wanted == "vllm" and installed.exists():
        return installed.absolute()
    found = shutil.which(wanted)
    if not found:
        raise SandboxError(
            f"there is no program {wanted!r} to run as the engine; `make real-engine` installs a CPU build of vLLM in "
            f"{installed.parent.parent}, or name one with --engine PROGRAM"
        )
    return Path(found).absolute()


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
