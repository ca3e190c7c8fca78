"""The provider's executable and the fork server behind it, started as Terraform starts them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from slipway_sandbox.terraform.activation import Activation
from slipway_sandbox.terraform.install import install
from slipway_sandbox.terraform.provider.server import MAGIC_COOKIE
from slipway_sandbox.terraform.provider.session import SERVICES

PACKAGE = Path(__file__).resolve().parents[2] / "slipway_sandbox"
SECONDS = 30.0


@pytest.fixture
def executable(tmp_path: Path) -> Path:
    install(tmp_path, dict(os.environ))
    (found,) = (tmp_path / "terraform" / "mirror").rglob("terraform-provider-aws_v*")
    return found


@pytest.fixture
def server(executable: Path, tmp_path: Path) -> Iterator[Activation]:
    running = Activation(tmp_path / "terraform", os.environ, None)
    yield running
    running.close()


def start(executable: Path, folder: Path, **variables: str) -> tuple[subprocess.Popen[str], Path]:
    """The provider's process, and the socket it says it listens at."""
    environment = {**os.environ, "TF_PLUGIN_MAGIC_COOKIE": MAGIC_COOKIE, "TMPDIR": str(folder), **variables}
    process = subprocess.Popen([executable], env=environment, stdout=subprocess.PIPE, text=True, cwd=folder)
    assert process.stdout is not None
    said = process.stdout.readline()
    match = re.fullmatch(r"1\|6\|unix\|(.+)\|grpc\|", said.strip())
    assert match, said
    return process, Path(match[1])


def end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate(timeout=SECONDS)


def eventually(true: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + SECONDS
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def children(server: Activation) -> list[str]:
    """The process ids of the providers it has forked."""
    return Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()


def test_each_start_is_a_process_of_its_own_with_the_starters_environment(
    executable: Path, server: Activation, tmp_path: Path
) -> None:
    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        folder.mkdir()
    started = [start(executable, folder) for folder in folders]
    # TMPDIR is where a provider makes its socket
    assert [socket.parent.parent for _, socket in started] == folders
    assert len(children(server)) == 2
    for process, _ in started:
        end(process)


def test_a_provider_ends_with_its_starter(executable: Path, server: Activation, tmp_path: Path) -> None:
    process, socket = start(executable, tmp_path)
    end(process)
    eventually(lambda: not socket.exists() and not children(server), "the provider of a killed starter lives")


def test_a_starter_ends_with_its_provider(executable: Path, server: Activation, tmp_path: Path) -> None:
    process, _ = start(executable, tmp_path)
    (provider,) = children(server)
    os.kill(int(provider), 9)
    process.communicate(timeout=SECONDS)
    assert process.returncode == 0


def test_a_starter_ends_when_terraform_was_killed(
    executable: Path, server: Activation, tmp_path: Path
) -> None:
    """The parent here starts it, reads its handshake, and is gone without a word."""
    parent = (
        "import subprocess, os\n"
        f"p = subprocess.Popen([{str(executable)!r}], stdout=subprocess.PIPE)\n"
        "print(p.pid, p.stdout.readline().decode(), flush=True)\n"
        "os._exit(0)\n"
    )
    environment = {**os.environ, "TF_PLUGIN_MAGIC_COOKIE": MAGIC_COOKIE, "TMPDIR": str(tmp_path)}
    said = subprocess.run(
        [sys.executable, "-c", parent], env=environment, capture_output=True, text=True, check=True, timeout=SECONDS
    ).stdout  # fmt: skip
    starter = Path("/proc", said.split()[0])
    eventually(lambda: not starter.exists() or not (starter / "cmdline").read_bytes(), "the starter lives")
    eventually(lambda: not children(server), "the provider lives")


def test_one_that_nobody_asked_for_a_while_ends_and_is_started_anew(executable: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "SLIPWAY_SANDBOX_PROVIDER_IDLE": "0.2"}
    running = Activation(tmp_path / "terraform", environment, None)
    end(start(executable, tmp_path)[0])
    first = running.pid
    eventually(lambda: not Path(f"/proc/{first}").exists(), "the idle fork server lives")
    end(start(executable, tmp_path)[0])
    assert running.pid != first
    running.close()


def test_a_fork_server_that_cannot_start_leaves_each_provider_to_itself(
    executable: Path, tmp_path: Path
) -> None:
    environment = {**os.environ, "SLIPWAY_SANDBOX_PROVIDER_IDLE": "soon"}
    running = Activation(tmp_path / "terraform", environment, None)
    environment["TF_PLUGIN_MAGIC_COOKIE"] = MAGIC_COOKIE
    waiting = subprocess.run([executable], env=environment, capture_output=True, timeout=SECONDS, check=False)
    assert waiting.stdout == b""  # it was not taken
    process, socket = start(executable, tmp_path)
    assert socket.exists()
    end(process)
    running.close()


def test_without_a_fork_server_the_executable_is_the_provider(executable: Path, tmp_path: Path) -> None:
    process, socket = start(executable, tmp_path)
    assert socket.exists()
    end(process)


def test_a_person_who_starts_it_is_told_what_it_is(executable: Path, server: Activation) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "TF_PLUGIN_MAGIC_COOKIE"}
    done = subprocess.run(
        [executable], env=environment, capture_output=True, text=True, check=False, timeout=SECONDS
    )
    assert done.stderr.strip() == "This is a provider plugin: Terraform starts it."


def test_the_server_ends_with_the_sandbox(executable: Path, tmp_path: Path) -> None:
    running = Activation(tmp_path / "terraform", os.environ, None)
    process, socket = start(executable, tmp_path)
    running.close()
    end(process)
    eventually(lambda: not socket.exists(), "its provider lives")
    assert not Path(f"/proc/{running.pid}").exists()


def test_the_services_that_are_loaded_before_the_fork_are_those_that_are_asked() -> None:
    rare = {"ecr", "events", "logs", "sqs"}  # of settings that most environments do not have
    files = (PACKAGE / "terraform" / "provider").rglob("*.py")
    asked = {name for file in files for name in re.findall(r'\.client\("([a-z0-9-]+)"', file.read_text())}
    assert asked == {*SERVICES, *rare}
