"""`slipway verify` as a process: offline, and in seconds."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.evidence import a_chain_of_files


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path, Path]:
    return a_chain_of_files(tmp_path)


def test_slipway_verify_needs_no_account_no_network_and_no_prefect(files: tuple[Path, Path, Path]) -> None:
    after, before, key = files
    offline = (
        "import socket, sys\n"
        "def refuse(*_, **__): raise OSError('the network is off')\n"
        "socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse\n"
        "from flows.cli import main\n"
        "try:\n    main(sys.argv[1:])\nfinally:\n    assert 'prefect' not in sys.modules\n"
    )
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "PREFECT_"))}
    words = [str(after), "--key", str(key), "--previous", str(before)]
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", offline, "verify", *words],
        env=plain, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    print(f"slipway verify: {time.perf_counter() - began:.2f} s")
    assert done.returncode == 0, done.stderr
    assert "Evidence of llama in staging" in done.stdout
