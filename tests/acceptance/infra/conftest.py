"""An AWS account for each file here, and both roots applied in it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from slipway_sandbox.testing import Sandbox, start

from tests.support.clouds import client_of
from tests.support.roots import READER, STATE_BUCKET, Applied, apply_both

# long enough for terraform to see them pass
SPEEDS = {"cluster_boot_seconds": 0.6, "nodegroup_boot_seconds": 0.3, "addon_seconds": 0.2}


@pytest.fixture(scope="session")
def infra_aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with start(tmp_path_factory.mktemp("aws"), parts=("aws",), speeds=SPEEDS) as running:
        running.client("s3").create_bucket(Bucket=STATE_BUCKET)
        # EKS lets nobody in whom IAM does not know
        running.client("iam").create_role(RoleName="platform", AssumeRolePolicyDocument="{}")
        role = READER.rsplit("/", 1)[1]
        client_of(running, READER.split(":")[4], "iam").create_role(
            RoleName=role, AssumeRolePolicyDocument="{}"
        )
        yield running


@pytest.fixture(scope="session")
def applied(infra_aws: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Applied:
    return apply_both(infra_aws, tmp_path_factory.mktemp("roots"))
