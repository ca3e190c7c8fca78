"""`slipway run` itself: what comes in which order. The whole of it is `make run`."""

from __future__ import annotations

import subprocess
import sys

ORDER = """
import sys
import flows.lifecycle
from flows.cli import main

def begun(folder, kubeconfig):
    sys.exit(6 if "prefect" in sys.modules else 7)

flows.lifecycle.start_sandbox = begun
main(["run"])
"""


def test_prefect_is_imported_after_the_sandbox_said_where_its_server_is() -> None:
    """Imported before, it would start a server of its own, and the sandbox's UI would show no run."""
    done = subprocess.run(
        [sys.executable, "-c", ORDER], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 7, done.stdout + done.stderr
