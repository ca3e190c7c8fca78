"""What the command line imports, seen in a process of its own."""

from __future__ import annotations

import subprocess
import sys


def test_the_list_of_commands_does_not_wait_for_prefect() -> None:
    code = "import sys\nfrom flows.cli import main\nmain(['--help'], standalone_mode=False)\nsys.exit('prefect' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for command in ("deploy ", "scale-down ", "render "):
        assert f"\n  {command}" in done.stdout
