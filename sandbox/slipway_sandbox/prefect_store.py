"""A Prefect database with its migrations done, kept in the virtual environment and copied into each new sandbox.

Making the tables is most of what a first start of the server takes (9 s of CPU against 1 ms for a copy).
`python -m slipway_sandbox.prefect_store` makes it; `make` does so when it installs.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

MAKE_SECONDS = 180.0


def template() -> Path:
    """Where it is kept: beside the packages it belongs to, one for each version of Prefect."""
    return Path(sys.prefix) / "share" / "slipway" / f"prefect-{version('prefect')}.db"


def make() -> Path:
    """Make it where it is not there yet. Raises subprocess.CalledProcessError, OSError."""
    target = template()
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="slipway-prefect-") as home:
        subprocess.run(
            [sys.executable, "-m", "prefect", "server", "database", "upgrade", "-y"],
            env={**os.environ, "PREFECT_HOME": home},
            check=True,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=MAKE_SECONDS,
        )
        partial = target.with_suffix(".partial")
        shutil.copy(Path(home) / "prefect.db", partial)
        partial.replace(target)
    return target


def lay_out(home: Path) -> None:
    """Start a server's folder from the template; without one the server makes its tables itself, more slowly."""
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    if template().exists():
        shutil.copy(template(), home / "prefect.db")


if __name__ == "__main__":
    make()
