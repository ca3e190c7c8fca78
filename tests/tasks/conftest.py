"""One AWS process for the stages' tests, and the product's own clients connected to it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from sandbox.settings import Settings
from tasks.cloud.aws import Aws

SERVICES = (
    "s3", "ec2", "eks", "iam", "kms", "secretsmanager", "logs", "sts", "service-quotas",
    "resourcegroupstaggingapi",
)  # fmt: skip


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def stage_aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aws]:
    """tasks.cloud.aws.Aws against a running AWS of the sandbox; every client is made beforehand."""
    settings = Settings(
        root=tmp_path_factory.mktemp("stage-aws"),
        network="127.98",
        aws_port=free_port(),
        control_port=free_port(),
        hub_port=0,
        cdn_port=0,
        metrics_port=0,
        prefect_port=0,
        cluster_boot_seconds=0.2,
        nodegroup_boot_seconds=0.2,
        addon_seconds=0.1,
    )
    settings.save()
    process = subprocess.Popen(
        [sys.executable, "-m", "sandbox.aws", "--root", str(settings.root)],
        env={**os.environ, "SLIPWAY_SANDBOX_NO_REGION": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout
    assert "listening" in process.stdout.readline()
    with pytest.MonkeyPatch.context() as environment:
        for name, value in settings.aws_environment().items():
            environment.setenv(name, value)
        aws = Aws(settings.region)
        for service in SERVICES:
            aws.client(service)
    yield aws
    process.terminate()
    process.wait(timeout=10)
    process.stdout.close()


@pytest.fixture
def bucket(stage_aws: Aws) -> str:
    name = f"stage-{uuid.uuid4().hex[:12]}"
    stage_aws.client("s3").create_bucket(Bucket=name)
    return name


class Clock:
    """Time that passes only when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


class Heard:
    """A Reporter that keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)

    def progress(self, done: float, total: float, unit: str = "bytes", detail: str = "") -> None:
        pass


@pytest.fixture
def heard() -> Heard:
    return Heard()


def until(condition: Any, seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.02)
