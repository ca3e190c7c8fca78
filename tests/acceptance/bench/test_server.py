"""The bench of Prefect's server: a small catalogue and a short load on SQLite."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.builders import ROOT

pytestmark = pytest.mark.long


@pytest.mark.timeout(600)
def test_runs_that_are_due_begin_and_their_requests_are_counted(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    words = [
        "--only",
        "sqlite",
        "--models",
        "2",
        "--environments",
        "1",
        "--rates",
        "2000",
        "--minutes",
        "0.3",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "bench.server", *words, "--json", str(file)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=580,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    [measured] = json.loads(file.read_text())["sqlite"]["rates"]
    assert 0 < measured["began"] <= measured["runs"]
    # at the least: claimed, read, running, completed
    assert measured["requests_a_run"] > 3
    assert any("set_state" in path for path in measured["most_asked"])
