"""What is changed of LiteLLM's configuration and command for a process on loopback; LiteLLM itself runs in the product's tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from slipway_sandbox.images.hosts import HostsFile
from slipway_sandbox.images.litellm import resolved
from slipway_sandbox.images.table import resolve
from slipway_sandbox.loopback import plan_settings

CONFIGURATION = "api_base: http://vllm-a.llm.svc.cluster.local:8000/v1\ncustom_auth: auth.check\n"


@pytest.fixture
def mounted(tmp_path: Path) -> Path:
    """A mounted ConfigMap, and the hosts file beside it."""
    folder = tmp_path / "mounted"
    folder.mkdir()
    (folder / "config.yaml").write_text(CONFIGURATION)
    (folder / "auth.py").write_text("check = 1\n")
    (tmp_path / "hosts").write_text("127.40.100.7 vllm-a.llm.svc.cluster.local\n")
    return folder


def test_services_are_cluster_ips_and_the_modules_stay_beside(mounted: Path, tmp_path: Path) -> None:
    copy = resolved(mounted / "config.yaml", HostsFile(tmp_path / "hosts"))
    assert copy.read_text().splitlines()[0] == "api_base: http://127.40.100.7:8000/v1"
    assert (copy.parent / "auth.py").read_text() == "check = 1\n"
    with pytest.raises(OSError, match="Name or service not known"):
        resolved(mounted / "config.yaml", HostsFile(None))


def test_it_becomes_the_python_that_is_named(mounted: Path, tmp_path: Path) -> None:
    shown = (
        "import json, os, sys; print(json.dumps([sys.argv, os.environ['LISTEN'], os.environ['PYTHONPATH']]))"
    )
    (mounted / "shown.py").write_text(shown)
    found = run(mounted, tmp_path, sys.executable)
    [words, listen, path] = json.loads(found.stdout)
    assert words[1:] == ["--host", "127.40.1.9"]
    assert (listen, path) == ("127.40.1.9", str(mounted))
    missing = run(mounted, tmp_path, None)
    assert (missing.returncode, "set SLIPWAY_LITELLM" in missing.stderr) == (127, True)


def run(mounted: Path, tmp_path: Path, python: str | None) -> subprocess.CompletedProcess[str]:
    package = Path(__file__).resolve().parents[2]
    replace(plan_settings(tmp_path), litellm_python=python).save()
    variables = {
        **os.environ,
        "SLIPWAY_SANDBOX_ROOT": str(tmp_path),
        "SLIPWAY_SANDBOX_POD_IP": "127.40.1.9",
        "SLIPWAY_SANDBOX_HOSTS": str(tmp_path / "hosts"),
        "SLIPWAY_SANDBOX_MOUNTS": json.dumps({"/etc/slipway/litellm": str(mounted)}),
        "CONFIG_FILE_PATH": str(mounted / "config.yaml"),
        "LISTEN": "0.0.0.0",
        "PYTHONPATH": f"{mounted}:/app:{package}",
    }
    words = ["-m", "slipway_sandbox.images.litellm", str(mounted / "shown.py"), "--host", "0.0.0.0"]
    return subprocess.run(
        [sys.executable, *words], env=variables, capture_output=True, text=True, timeout=60, check=False
    )


def test_the_image_has_python_alone() -> None:
    image = resolve("ghcr.io/berriai/litellm:v1.108.7")
    assert image
    assert image.program("python") == image.program("python3")
    assert image.program("sh") is None
