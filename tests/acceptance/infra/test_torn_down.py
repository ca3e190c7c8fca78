"""Destroying both roots. Last of its folder by its name: nothing is left for other tests afterwards."""

from __future__ import annotations

from typing import Any

from tests.support.roots import Applied


def test_destroy_leaves_nothing(applied: Applied) -> None:
    for workspace in (applied.cluster, applied.storage):
        workspace.run("destroy", "-auto-approve", "-input=false", "-no-color")
    client = applied.aws.client
    assert "slipway-test" not in client("eks").list_clusters()["clusters"]
    ours: Any = {"Filters": [{"Name": "tag:Project", "Values": ["slipway"]}]}
    assert client("ec2").describe_vpcs(**ours)["Vpcs"] == []
    assert client("ec2").describe_addresses(**ours)["Addresses"] == []
    assert client("ec2").describe_launch_templates(**ours)["LaunchTemplates"] == []
    assert [r for r in client("iam").list_roles()["Roles"] if r["RoleName"].startswith("slipway-test")] == []
    assert client("logs").describe_log_groups()["logGroups"] == []
    buckets = [b["Name"] for b in client("s3").list_buckets()["Buckets"]]
    assert [name for name in buckets if name.startswith("slipway-test")] == ["slipway-test-state"]
