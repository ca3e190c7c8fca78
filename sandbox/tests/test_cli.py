"""`slipway sandbox`, as the command line has it."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        words = ["up", "--root", str(tmp_path), "--detach", "--port", str(port)]
        done = subprocess.run(
            [sys.executable, "-m", "slipway_sandbox", *words],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert done.returncode != 0
    assert f"port {port} on 127.0.0.1 is taken" in done.stderr
    assert "Traceback" not in done.stderr
