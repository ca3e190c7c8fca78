"""`slipway verify` as a process: offline, and in seconds."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tasks.evidence.envelope import pem_of, seal
from tasks.evidence.verify import verify
from tests.support.evidence import NOW, a_proof, a_signer

SIGNER = a_signer()


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path, Path]:
    """A bundle, the one it replaces, and the public key."""
    before, after, key = tmp_path / "1.json", tmp_path / "2.json", tmp_path / "key.pem"
    before.write_bytes(seal(a_proof(), SIGNER))
    sha = verify(before.read_bytes(), SIGNER.public_key, now=NOW).sha256
    after.write_bytes(seal(a_proof(replaces=sha, sequence=2), SIGNER))
    key.write_text(pem_of(SIGNER.public_key))
    return after, before, key


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
