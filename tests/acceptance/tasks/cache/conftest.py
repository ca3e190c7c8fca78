"""An S3 that enforces checksums, a staged model in it, and a cluster to warm a claim in."""

from __future__ import annotations

import random
import uuid
from pathlib import Path
from typing import Any

import pytest
from slipway_sandbox.testing import EksCluster, Sandbox

from tasks.cloud.kubernetes import Cluster
from tests.support.caches import MIB, Script, Staged, Warmer


@pytest.fixture
def s3(sandbox: Sandbox) -> Any:
    return sandbox.client("s3")


@pytest.fixture(scope="session")
def weights() -> dict[str, bytes]:
    made = random.Random(11)
    return {
        "model.safetensors": made.randbytes(9 * MIB + 333),
        "second.safetensors": made.randbytes(4 * MIB),
        "config.json": b"{}",
        "empty": b"",
        "nested/deeper/notes.txt": b"hello",
    }


@pytest.fixture
def staged(s3: Any, weights: dict[str, bytes]) -> Staged:
    made = Staged(s3, f"models-{uuid.uuid4().hex[:12]}", dict(weights))
    s3.create_bucket(Bucket=made.bucket)
    for path, body in made.files.items():
        made.put(path, body)
    made.publish()
    return made


@pytest.fixture
def warmer(cluster: Cluster, sandbox_cluster: EksCluster, staged: Staged) -> Warmer:
    return Warmer(cluster, sandbox_cluster, staged)


@pytest.fixture(params=["by part", "by file"])
def script(request: pytest.FixtureRequest, sandbox: Sandbox, staged: Staged, tmp_path: Path) -> Script:
    """Where the manifest has checksums of parts, and where only each file's sha256 can be used."""
    staged.by_part = request.param == "by part"
    staged.publish()
    return Script(sandbox, staged, tmp_path)
