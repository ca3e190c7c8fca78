"""What holds of the root modules as they are written, without a cloud."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pytest
from slipway_sandbox.testing import Sandbox

from tests.support.roots import COMMON, ROOTS, copied

NAMES = ("storage", "cluster", "ci")


def written(name: str) -> str:
    return "\n".join(path.read_text() for path in sorted((ROOTS / name).glob("*.tf")))


def test_they_are_formatted(infra_aws: Sandbox, tmp_path: Path) -> None:
    for name in NAMES:
        copied(name, tmp_path / name, infra_aws.variables()).run("fmt", "-check", "-diff")


@pytest.mark.parametrize("name", NAMES)
def test_they_are_valid(name: str, infra_aws: Sandbox, tmp_path: Path) -> None:
    workspace = copied(name, tmp_path / name, infra_aws.variables())
    workspace.init("-backend=false")
    workspace.run("validate", "-no-color")


BAD_VALUES: dict[str, dict[str, tuple[object, str]]] = {
    "storage": {
        "name": ("Slipway", "name must be 3 to 32 lower-case"),
        "bucket_name": ("with.dots", "bucket_name must be 3 to 63"),
        "kms_deletion_window_days": (3, "between 7 and 30 (a limit of KMS)"),
        "secret_recovery_window_days": (3, "a limit of Secrets Manager"),
        "abort_incomplete_upload_days": (0, "a whole number of at least 1"),
    },
    "cluster": {
        "kubernetes_version": ("1.33.1", "a minor version such as 1.33"),
        "vpc_cidr": ("10.0.0.0/24", "/16 to /20"),
        "zones": (["us-east-1a"], "two availability zones, or none"),
        "gpu_provisioner": ("autoscaler", "gpu_provisioner must be node-group or karpenter"),
        "admin_principal_arns": (["arn:aws:sts::123456789012:assumed-role/a/b"], "not of a session"),
        "endpoint_public_access_cidrs": (["here"], "must be IPv4 networks"),
        "flow_logs": ("SOME", "flow_logs must be REJECT, ALL or OFF"),
        "gpu_capacity_type": ("SPOTTY", "gpu_capacity_type must be ON_DEMAND or SPOT"),
        "gpu_taint": ({"key": "k", "value": "v", "effect": "NoSchedule"}, "gpu_taint.effect must be"),
        "gpu_volume_throughput": (2000, "between 125 and 1000 MiB/s"),
        "metadata_hop_limit": (3, "must be 1 or 2"),
        "model_kms_key_arn": ("alias/models", "not of an alias"),
    },
    "ci": {
        "name": ("Slipway", "name must be 3 to 32 lower-case"),
        "buckets": (["models"], "buckets must be the names of two buckets"),
        "issuer": ("https://gitlab.com", "issuer must be a host, without https://"),
        "subjects": (["repo:acme/*:environment:staging"], "a wildcard lets other repositories in"),
    },
}
CI_VALUES: dict[str, object] = {
    "buckets": ["acme-models", "acme-states"],
    "subjects": ["repo:acme/serving:environment:staging-preflight"],
}
GOOD_VALUES = COMMON | {
    "kubernetes_version": "1.33",
    "model_bucket_arn": "arn:aws:s3:::models",
    "model_kms_key_arn": "arn:aws:kms:us-east-1:123456789012:key/1",
}


def refusal(name: str, folder: Path, aws: Sandbox, values: dict[str, object]) -> str:
    """What a plan with these values says before it fails, on one line and without its frame."""
    workspace = copied(name, folder, aws.variables(), values)
    backend = workspace.folder / "versions.tf"
    backend.write_text(re.sub(r'  backend "s3" \{.*?\n  \}\n', "", backend.read_text(), flags=re.DOTALL))
    workspace.init()
    text = workspace.run("plan", "-input=false", "-no-color", code=1).text
    return " ".join(text.replace("│", " ").split())


@pytest.fixture(scope="module", params=NAMES)
def refused(
    request: pytest.FixtureRequest, infra_aws: Sandbox, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, str]:
    """(root, what terraform says to every bad value of it at once)"""
    name: str = request.param
    good: dict[str, Mapping[str, object]] = {"storage": {}, "cluster": GOOD_VALUES, "ci": CI_VALUES}
    values: dict[str, object] = {**COMMON, **good[name]} | {
        v: bad for v, (bad, _) in BAD_VALUES[name].items()
    }
    return name, refusal(name, tmp_path_factory.mktemp("refused") / name, infra_aws, values)


def test_bad_values_are_refused_each_with_its_reason(refused: tuple[str, str]) -> None:
    name, text = refused
    assert [variable for variable, (_, reason) in BAD_VALUES[name].items() if reason not in text] == []


def test_sizes_that_contradict_each_other_are_refused(infra_aws: Sandbox, tmp_path: Path) -> None:
    text = refusal(
        "cluster", tmp_path / "cluster", infra_aws, GOOD_VALUES | {"gpu_min_size": 3, "gpu_max_size": 2}
    )
    assert "gpu_min_size <= gpu_desired_size <= gpu_max_size" in text
