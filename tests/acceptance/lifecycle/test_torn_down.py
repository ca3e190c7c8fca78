"""Teardown, killed in the middle and started again: nothing is left."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from slipway_sandbox.testing import Faults

from tests.support.commands import Command
from tests.support.project import CLUSTER, ENVIRONMENT, Project

TEARDOWN = ("teardown", "-e", ENVIRONMENT, "--models", "delete", "--volumes", "delete")
# Seconds a stage is held: longer than it takes to see it and to stop the run.
HOLD = 300.0

Start = Callable[..., Command]


def test_a_teardown_that_was_killed_is_completed_by_the_next(
    serving: str, project: Project, start: Start, faults: Faults
) -> None:
    faults.set("aws-slow", target="eks DeleteNodegroup", value=HOLD)
    in_add_ons = start(*TEARDOWN)
    in_add_ons.wait_for(r"teardown: uninstalled")
    in_add_ons.kill()
    faults.clear()
    faults.set("aws-slow", target="eks DeleteCluster", value=HOLD)
    in_terraform = start(*TEARDOWN, "-v")
    in_terraform.wait_for(r"cluster: aws_eks_node_group\.\w+\[0\]: Destruction complete")
    in_terraform.kill()
    assert project.client("eks").list_clusters()["clusters"] == [CLUSTER]
    faults.clear()
    assert "nothing is left" in project.run(*TEARDOWN).succeeded().output


@pytest.fixture
def torn_down(project: Project) -> None:
    """The test before has seen to it, where it succeeded."""
    if project.is_made():
        project.run(*TEARDOWN).succeeded()


def test_the_account_is_empty_then(torn_down: None, project: Project) -> None:
    mine = [{"Name": "tag:slipway:environment", "Values": [ENVIRONMENT]}]
    ec2 = project.client("ec2")
    assert project.client("s3").list_buckets()["Buckets"] == []
    assert project.client("eks").list_clusters()["clusters"] == []
    assert ec2.describe_vpcs(Filters=mine)["Vpcs"] == []
    assert ec2.describe_volumes(Filters=mine)["Volumes"] == []
    assert project.client("iam").list_roles()["Roles"] == []


def test_a_teardown_of_nothing_is_no_error(torn_down: None, project: Project) -> None:
    assert "nothing is left" in project.run(*TEARDOWN).succeeded().output
