"""The bench of the load generator: one short run of ours."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bench.load.tools import PROJECT

needs_compiler = pytest.mark.skipif(
    not (shutil.which("c++") or shutil.which("g++")), reason="the timing server needs a C++ compiler"
)


pytestmark = pytest.mark.long


@needs_compiler
@pytest.mark.timeout(300)
@pytest.mark.parametrize("tool", ["slipway", "slipway-job"])
def test_ours_alone_is_measured_against_the_servers_log(tmp_path: Path, tool: str) -> None:
    file = tmp_path / "figures.json"
    words = ["--only", tool, "--rounds", "1", "--seconds", "1", "--json", str(file)]
    done = subprocess.run(
        [sys.executable, "-m", "bench.load", *words],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    ours = json.loads(file.read_text())[tool]
    assert set(ours["ttft_error_ms"]) == {"p50", "p99"}
    assert {"tpot_error_pct", "requests_per_second", "cpu_ms_per_request", "seconds_beyond_window"} < set(
        ours
    )
    assert {"concurrency_error_pct", "arrivals_ks", "spreads"} < set(ours)
    assert ours["rate_seen"] > 100
