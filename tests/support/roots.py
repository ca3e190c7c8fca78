"""The terraform root modules, copied and initialised for a test."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slipway_sandbox.testing import Sandbox, Workspace

from tests.support.builders import ROOT

ROOTS = ROOT / "infra" / "terraform"
READER = "arn:aws:iam::210987654321:role/slipway-production"
ADMIN = "arn:aws:iam::123456789012:role/platform"
COMMON = {"region": "us-east-1", "name": "slipway-test", "environment": "test"}
STATE_BUCKET = "slipway-test-state"


@dataclass(frozen=True)
class Applied:
    """Both roots, applied once for the tests of a file. A test leaves them as it found them."""

    aws: Sandbox
    storage: Workspace
    cluster: Workspace


def copied(
    root: str, to: Path, environment: Mapping[str, str], variables: dict[str, Any] | None = None
) -> Workspace:
    """A root module in a folder of its own: terraform never runs in the repository, whose lock file is the operator's."""
    shutil.copytree(ROOTS / root, to, ignore=shutil.ignore_patterns(".terraform*"))
    return Workspace(to, environment, dict(variables or {}))


def initialise(workspace: Workspace, key: str) -> None:
    """terraform init with its state in the tests' bucket, at `key`."""
    settings = {"bucket": STATE_BUCKET, "key": key, "region": "us-east-1", "use_path_style": "true"}
    workspace.init(*(f"-backend-config={name}={value}" for name, value in settings.items()))


def apply_both(aws: Sandbox, folder: Path) -> Applied:
    """Apply storage, then cluster with what storage put out."""
    environment = aws.variables()
    storage = copied("storage", folder / "storage", environment, COMMON | {"reader_arns": [READER]})
    initialise(storage, "storage.tfstate")
    storage.apply()
    made = storage.outputs()
    variables = COMMON | {
        "kubernetes_version": "1.34",
        "admin_principal_arns": [ADMIN],
        "interface_endpoints": True,
        "nat_gateways": "per_zone",
        "gpu_max_size": 4,
        "model_bucket_arn": made["bucket_arn"],
        "model_kms_key_arn": made["kms_key_arn"],
    }
    cluster = copied("cluster", folder / "cluster", environment, variables)
    initialise(cluster, "cluster.tfstate")
    cluster.apply()
    return Applied(aws, storage, cluster)
