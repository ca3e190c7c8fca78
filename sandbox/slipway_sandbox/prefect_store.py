"""A Prefect database with its tables and block types, kept in the virtual environment and copied into each new sandbox.

Making the tables is most of what a first start of the server takes (9 s of CPU against 1 ms for a copy).
`python -m slipway_sandbox.prefect_store` makes it; `make` does so when it installs.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

MAKE_SECONDS = 180.0

# What prefect.server.api.server does at a start (Prefect 3.8: create_app's add_block_types)
REGISTER_BLOCKS = """
import asyncio
from prefect.server.database import provide_database_interface
from prefect.server.models.block_registration import run_block_auto_registration

async def register():
    async with await provide_database_interface().session() as session:
        await run_block_auto_registration(session=session)

asyncio.run(register())
"""


def template() -> Path:
    """Where it is kept: beside the packages it belongs to, one for each version of Prefect."""
    return Path(sys.prefix) / "share" / "slipway" / f"prefect-{version('prefect')}-blocks.db"


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
        subprocess.run(
            [sys.executable, "-c", REGISTER_BLOCKS],
            env={**os.environ, "PREFECT_HOME": home},
            check=True,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=MAKE_SECONDS,
        )
        partial = target.with_suffix(".partial")
        partial.unlink(missing_ok=True)
        # one file with what the write-ahead log still holds
        with contextlib.closing(sqlite3.connect(Path(home) / "prefect.db")) as database:
            database.execute("VACUUM INTO ?", (str(partial),))
        partial.replace(target)
    return target


def lay_out(home: Path) -> dict[str, str]:
    """Start a server's folder from the template; the settings by which the server does not make it again.

    Without a template the server makes its tables and block types itself, more slowly.
    """
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not template().exists():
        return {}
    shutil.copy(template(), home / "prefect.db")
    return {
        "PREFECT_SERVER_DATABASE_MIGRATE_ON_START": "false",
        "PREFECT_SERVER_API_BLOCKS_REGISTER_ON_START": "false",
    }


if __name__ == "__main__":
    make()
