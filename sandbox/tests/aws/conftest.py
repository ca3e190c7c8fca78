"""One AWS process for all of these tests, spoken to with boto3 as the product does."""

from __future__ import annotations

import functools
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from botocore.config import Config

from slipway_sandbox.clients import SandboxSession
from slipway_sandbox.faults import Faults
from slipway_sandbox.settings import ACCESS_KEY, SECRET_KEY, Settings
from slipway_sandbox.testing import start

DEADLINE = 30.0


@dataclass(frozen=True, eq=False)
class Aws:
    """The running process."""

    settings: Settings
    pid: int
    faults: Faults

    @functools.cache  # noqa: B019  one object, as long as the session
    def client(self, service: str, **config: Any) -> Any:
        keys = {
            "aws_access_key_id": config.pop("access_key", ACCESS_KEY),
            "aws_secret_access_key": config.pop("secret_key", SECRET_KEY),
            "region_name": config.pop("region", self.settings.region),
        }
        once: Any = {"total_max_attempts": 1}
        return SandboxSession(self.settings).client(service, config=Config(retries=once, **config), **keys)

    def resident(self) -> int:
        """Bytes of the process's peak resident memory."""
        text = Path(f"/proc/{self.pid}/status").read_text()
        return next(int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("VmHWM"))


@pytest.fixture(scope="session")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aws]:
    speeds = {"cluster_boot_seconds": 0.5, "nodegroup_boot_seconds": 0.3, "addon_seconds": 0.3}
    with start(tmp_path_factory.mktemp("sandbox"), parts=("aws",), speeds=speeds) as running:
        yield Aws(Settings.load(running.root), running.pids["aws"], running.faults)


@pytest.fixture(autouse=True)
def no_faults(aws: Aws) -> Iterator[None]:
    yield
    aws.faults.clear()


@pytest.fixture(scope="session")
def s3(aws: Aws) -> Any:
    return aws.client("s3")


@pytest.fixture
def bucket(s3: Any) -> str:
    name = f"test-{uuid.uuid4().hex[:12]}"
    s3.create_bucket(Bucket=name)
    return name


@pytest.fixture(scope="session")
def eks(aws: Aws) -> Any:
    return aws.client("eks")


@pytest.fixture(scope="session")
def role(aws: Aws) -> str:
    made = aws.client("iam").create_role(RoleName="eks-test", AssumeRolePolicyDocument="{}")
    return str(made["Role"]["Arn"])


@pytest.fixture(scope="session")
def subnets(aws: Aws) -> list[str]:
    """Two default subnets, in two zones."""
    found = aws.client("ec2").describe_subnets()["Subnets"]
    return [subnet["SubnetId"] for subnet in found[:2]]


@pytest.fixture(scope="session")
def make_cluster(eks: Any, role: str, subnets: list[str]) -> Callable[..., str]:
    """A new cluster; ACTIVE unless wait=False."""

    def make(*, wait: bool = True, **more: Any) -> str:
        name = f"c-{uuid.uuid4().hex[:8]}"
        access = {"authenticationMode": "API", **more.pop("accessConfig", {})}
        eks.create_cluster(
            name=name, roleArn=role, resourcesVpcConfig={"subnetIds": subnets}, accessConfig=access, **more
        )
        if wait:
            until(lambda: eks.describe_cluster(name=name)["cluster"]["status"] == "ACTIVE")
        return name

    return make


@pytest.fixture(scope="session")
def cluster(make_cluster: Callable[..., str]) -> str:
    """A cluster many tests share; they name what they make in it apart."""
    return make_cluster()


def until(condition: Callable[[], bool], seconds: float = DEADLINE) -> None:
    """Wait for a condition; AssertionError when it does not come true."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.05)
