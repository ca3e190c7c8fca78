from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.acceptance.infra.workspace import Cloud, Workspace, cloud, copied

READER = "arn:aws:iam::210987654321:role/slipway-production"
ADMIN = "arn:aws:iam::123456789012:role/platform"
COMMON = {"region": "us-east-1", "name": "slipway-test", "environment": "test"}
STATE_BUCKET = "slipway-test-state"


@dataclass(frozen=True)
class Applied:
    """Both roots, applied once for all tests of this folder. A test leaves them as it found them."""

    aws: Cloud
    storage: Workspace
    cluster: Workspace


def initialise(workspace: Workspace, key: str) -> None:
    settings = {"bucket": STATE_BUCKET, "key": key, "region": "us-east-1", "use_path_style": "true"}
    workspace.init(*(f"-backend-config={name}={value}" for name, value in settings.items()))


@pytest.fixture(scope="session")
def infra_aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with cloud(tmp_path_factory.mktemp("aws")) as running:
        running.client("s3").create_bucket(Bucket=STATE_BUCKET)
        # EKS lets nobody in whom IAM does not know
        running.client("iam").create_role(RoleName="platform", AssumeRolePolicyDocument="{}")
        yield running


@pytest.fixture(scope="session")
def applied(infra_aws: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Applied:
    folder = tmp_path_factory.mktemp("roots")
    storage = copied("storage", folder / "storage", infra_aws.environment, COMMON | {"reader_arns": [READER]})
    initialise(storage, "storage.tfstate")
    storage.apply()
    made = storage.outputs()
    variables = COMMON | {
        "kubernetes_version": "1.35",
        "admin_principal_arns": [ADMIN],
        "interface_endpoints": True,
        "nat_gateways": "per_zone",
        "gpu_max_size": 4,
        "model_prefix": "models",
        "model_bucket_arn": made["bucket_arn"],
        "model_kms_key_arn": made["kms_key_arn"],
    }
    cluster = copied("cluster", folder / "cluster", infra_aws.environment, variables)
    initialise(cluster, "cluster.tfstate")
    cluster.apply()
    return Applied(infra_aws, storage, cluster)
