"""Teardown, killed in the middle and started again: nothing is left."""

from __future__ import annotations

import pytest

from tests.support.commands import ENVIRONMENT, Region

TEARDOWN = ("teardown", "-e", ENVIRONMENT, "--models", "delete", "--volumes", "delete")

pytestmark = pytest.mark.usefixtures("deployed")


def test_a_teardown_that_was_killed_is_completed_by_the_next(region: Region) -> None:
    in_add_ons = region.start(*TEARDOWN)
    in_add_ons.wait_for(r"teardown: uninstalled")
    in_add_ons.kill()
    in_terraform = region.start(*TEARDOWN)
    in_terraform.wait_for(r"cluster: aws_eks_node_group\.\w+: Destruction complete")
    in_terraform.kill()
    assert "nothing is left" in region.run(*TEARDOWN).succeeded().output


def test_the_account_is_empty_then(region: Region) -> None:
    mine = [{"Name": "tag:slipway:environment", "Values": [ENVIRONMENT]}]
    ec2 = region.client("ec2")
    assert region.client("s3").list_buckets()["Buckets"] == []
    assert region.client("eks").list_clusters()["clusters"] == []
    assert ec2.describe_vpcs(Filters=mine)["Vpcs"] == []
    assert ec2.describe_volumes(Filters=mine)["Volumes"] == []
    assert region.client("iam").list_roles()["Roles"] == []


def test_a_teardown_of_nothing_is_no_error(region: Region) -> None:
    assert "nothing is left" in region.run(*TEARDOWN).succeeded().output
