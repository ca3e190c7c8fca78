"""One AWS process for the stages' tests, and the product's own clients connected to it."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator

import pytest
from slipway_sandbox.settings import Settings

from tasks.cloud.aws import Aws
from tests.support.loopback import free_port

SERVICES = (
    "s3", "ec2", "eks", "iam", "kms", "secretsmanager", "logs", "sts", "service-quotas",
    "resourcegroupstaggingapi",
)  # fmt: skip


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
        [sys.executable, "-m", "slipway_sandbox.aws", "--root", str(settings.root)],
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
