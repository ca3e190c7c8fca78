"""What keeps a resting sandbox small: the big libraries come when a cluster does, not before. Figures: bench/lifecycle.py."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("sandbox.region", ["boto3", "botocore", "sandbox.nodes"]),
        ("sandbox.supervisor", ["httpx", "aiohttp", "asyncio"]),
        ("sandbox.kubernetes.server", ["boto3", "botocore", "kubernetes_validate"]),
    ],
)
def test_a_process_starts_without(module: str, absent: list[str]) -> None:
    code = f"import sys, {module}; print(*(name for name in {absent} if name in sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.split() == []
