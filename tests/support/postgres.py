"""A Postgres of a test's own, from Debian's package, on loopback and in a folder."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.support.loopback import free_port

PROGRAMS = Path("/usr/lib/postgresql")
# it refuses to run as root
USER = "postgres"
START_SECONDS = 60.0


def installed() -> bool:
    """Whether Debian's package is there."""
    return any(PROGRAMS.glob("*/bin/postgres"))


def programs() -> Path:
    """The newest version's folder. Raises FileNotFoundError where the package is not installed."""
    found = sorted(PROGRAMS.glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    if not found:
        raise FileNotFoundError(f"no {PROGRAMS}/*/bin/postgres: apt-get install postgresql")
    return found[-1].parent


@contextlib.contextmanager
def running() -> Iterator[str]:
    """The URL of an empty database, as PREFECT_SERVER_DATABASE_CONNECTION_URL takes it; all is gone after the block."""
    port, folder = free_port(), Path(tempfile.mkdtemp(prefix="slipway-postgres-"))
    data, bin_ = folder / "data", programs()
    if os.geteuid() == 0:
        shutil.chown(folder, USER)
    try:
        made = [bin_ / "initdb", "-D", data, "-U", "prefect", "-A", "trust", "-N"]
        subprocess.run(_as_user(made), check=True, capture_output=True, timeout=120, cwd=folder)
        words = [bin_ / "postgres", "-D", data, "-p", port, "-h", "127.0.0.1", "-k", folder]
        server = subprocess.Popen(
            _as_user([*words, "-c", "max_connections=200"]),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=folder,
        )
        try:
            _wait(bin_, port)
            asked = [bin_ / "createdb", "-h", "127.0.0.1", "-p", port, "-U", "prefect", "prefect"]
            subprocess.run([str(word) for word in asked], check=True, timeout=60)
            yield f"postgresql+asyncpg://prefect@127.0.0.1:{port}/prefect"
        finally:
            # it ends its connections at once
            stop = [bin_ / "pg_ctl", "-D", data, "-m", "immediate", "stop"]
            subprocess.run(_as_user(stop), capture_output=True, timeout=60, cwd=folder)
            server.wait(60)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _as_user(words: Sequence[object]) -> list[str]:
    user = ["setpriv", "--reuid", USER, "--regid", USER, "--init-groups"] if os.geteuid() == 0 else []
    return [*user, *(str(word) for word in words)]


def _wait(bin_: Path, port: int) -> None:
    """Raises TimeoutError."""
    deadline = time.monotonic() + START_SECONDS
    ready = [str(bin_ / "pg_isready"), "-h", "127.0.0.1", "-p", str(port), "-q"]
    while subprocess.run(ready, timeout=30).returncode:
        if time.monotonic() > deadline:
            raise TimeoutError("Postgres does not answer")
        time.sleep(0.1)
