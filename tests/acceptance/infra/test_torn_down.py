"""Destroying both roots. Last of its folder by its name: nothing is left for other tests afterwards."""

from __future__ import annotations

from tests.support.roots import Applied


def test_destroy_leaves_nothing(applied: Applied) -> None:
    for workspace in (applied.cluster, applied.storage):
        workspace.run("destroy", "-auto-approve", "-input=false", "-no-color")
    client = applied.aws.client
    assert client("eks").list_clusters()["clusters"] == []
    assert [v for v in client("ec2").describe_vpcs()["Vpcs"] if not v["IsDefault"]] == []
    assert client("ec2").describe_addresses()["Addresses"] == []
    assert client("ec2").describe_launch_templates()["LaunchTemplates"] == []
    assert [r for r in client("iam").list_roles()["Roles"] if r["RoleName"].startswith("slipway-test")] == []
    assert client("logs").describe_log_groups()["logGroups"] == []
    assert [b["Name"] for b in client("s3").list_buckets()["Buckets"]] == ["slipway-test-state"]
