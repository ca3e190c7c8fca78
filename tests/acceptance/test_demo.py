"""`make run`'s command as a newcomer runs it: on a terminal, where a command may ask."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.builders import ROOT
from tests.support.project import copy_project
from tests.support.screens import TERMINAL, Screen

PATIENCE = 600.0


@pytest.mark.long
@pytest.mark.timeout(PATIENCE + 60)
def test_the_demo_asks_nothing_and_leaves_nothing(tmp_path: Path) -> None:
    home, screen = tmp_path / "project", Screen()
    copy_project(home)
    process = subprocess.Popen(
        [sys.executable, "-c", "from flows.cli import main; main()", "sandbox", "demo"],
        cwd=home,
        env={
            **os.environ,
            **TERMINAL,
            "SLIPWAY_HOME": str(home),
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "sandbox")]),
        },
        stdin=screen.theirs,
        stdout=screen.theirs,
        stderr=screen.theirs,
        start_new_session=True,
    )
    os.close(screen.theirs)
    try:
        assert process.wait(PATIENCE) == 0, screen.text[-3000:]
    finally:
        process.kill()
        down = [sys.executable, "-m", "slipway_sandbox", "down"]
        subprocess.run(down, cwd=home, timeout=60, check=False, capture_output=True)
    for words in ("deploy tiny-llama", "tear down", "sandbox ended", "s in all"):
        assert words in screen.text
    # the promise is seen to act, state by state, and dated
    assert "tiny-llama in sandbox: wake: kept" in screen.text
    assert re.search(r"\d s  no replica and no GPU node is left", screen.text)
    assert re.search(r"\d s  it answers", screen.text)
    assert re.search(r"wake: last seen to act 20\d\d-", screen.text)
