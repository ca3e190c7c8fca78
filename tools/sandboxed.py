"""A sandbox of a tool's own, by its public commands, and `slipway` run in it."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CATALOGUE = ("models", "environments", "k8s", "infra", "sandbox/charts", "sandbox/values")
SLIPWAY = str(Path(sys.executable).with_name("slipway"))
PATIENCE = 600.0


@contextlib.contextmanager
def sandbox(home: Path) -> Iterator[dict[str, str]]:
    """A sandbox in `home` beside a copy of the catalogue; the variables of who uses it."""
    for part in CATALOGUE:
        shutil.copytree(ROOT / part, home / part, ignore=shutil.ignore_patterns(".terraform"))
    own = {**os.environ, "SLIPWAY_HOME": str(home)}
    slipway(home, own, "sandbox", "up", "--detach")
    try:
        given = [shlex.split(line)[1] for line in (home / ".sandbox" / "env").read_text().splitlines()[1:]]
        yield {**own, **dict(assignment.split("=", 1) for assignment in given)}
    finally:
        slipway(home, own, "sandbox", "down")


def slipway(home: Path, variables: Mapping[str, str], *words: str) -> str:
    """What a command said. Ends this one where it fails."""
    done = subprocess.run(
        [SLIPWAY, *words], cwd=home, env=variables, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    if done.returncode:
        sys.exit(f"slipway {' '.join(words)} ended with exit code {done.returncode}:\n{done.stdout[-3000:]}")
    return done.stdout
