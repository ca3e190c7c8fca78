"""A hub and an S3 that enforces checksums, as processes of their own, once for these tests."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from slipway_sandbox.faults import Faults
from slipway_sandbox.settings import ACCESS_KEY, SECRET_KEY, Settings

from tasks.records.model import Source
from tasks.records.results import HubModel
from tasks.staging.hub import resolve

MIB = 1 << 20
BIG, SECOND = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
REPO = "acme/parts"


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def _write_repo(folder: Path) -> Path:
    """Two shards of several parts each, small files, an empty one, and one in a folder."""
    made = random.Random(7)
    (folder / "extra").mkdir(parents=True)
    for name, size in ((BIG, 23 * MIB + 17), (SECOND, 11 * MIB)):
        tensors = {"w": {"dtype": "BF16", "shape": [size // 2], "data_offsets": [0, size - 88]}}
        header = json.dumps(tensors).encode().ljust(80)
        (folder / name).write_bytes((80).to_bytes(8, "little") + header + made.randbytes(size - 88))
    (folder / "config.json").write_text('{"model_type": "llama"}')
    (folder / "empty.txt").write_text("")
    (folder / "extra" / "notes on it.md").write_text("a name with spaces")
    return folder


def _started(module: str, root: Path, environment: dict[str, str], says: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", module, "--root", str(root)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    assert says in line, f"{module} said {line!r}"
    return process


@pytest.fixture(scope="session")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    root = tmp_path_factory.mktemp("staging")
    aws, control, hub, cdn, metrics, prefect = _free_ports(6)
    made = Settings(root, "127.231", aws, control, hub, cdn, metrics, prefect)
    made.save()
    repo = _write_repo(root / "repo")
    published = {"SLIPWAY_SANDBOX_HUB_MODELS": f"{REPO}={repo}"}
    processes = [_started("slipway_sandbox.hub", root, published, "hub on")]
    try:
        processes.append(_started("slipway_sandbox.aws", root, {}, "listening"))
        yield made
    finally:
        for process in processes:
            process.send_signal(signal.SIGTERM)
        for process in processes:
            process.wait(10)
            if process.stdout:
                process.stdout.close()


@pytest.fixture
def faults(settings: Settings) -> Iterator[Faults]:
    switches = Faults(settings.faults_file)
    yield switches
    switches.clear()


@pytest.fixture(scope="session")
def s3(settings: Settings) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=settings.aws_url,
        region_name=settings.region,
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET_KEY,
        config=Config(
            s3={"addressing_style": "path", "payload_signing_enabled": False},
            max_pool_connections=32,
            retries={"mode": "standard", "max_attempts": 3},
        ),
    )


@pytest.fixture
def bucket(s3: Any) -> str:
    name = f"models-{uuid.uuid4().hex[:12]}"
    s3.create_bucket(Bucket=name)
    return name


@pytest.fixture(scope="session")
def model(settings: Settings) -> HubModel:
    return resolve(Source(repo=REPO), token=None, endpoint=settings.hub_url)
