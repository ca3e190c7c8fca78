"""What is listed as left, and what a teardown may delete."""

from __future__ import annotations

from tasks.cloud.aws import Aws
from tasks.infra.inventory import delete_volumes, inventory, volumes
from tasks.records.names import ENVIRONMENT_TAG
from tests.support.builders import an_environment


def a_volume(aws: Aws, environment: str, *more: str) -> str:
    tags = [{"Key": ENVIRONMENT_TAG, "Value": environment}, *({"Key": key, "Value": "x"} for key in more)]
    made = aws.client("ec2").create_volume(
        AvailabilityZone="us-east-1a", Size=1, TagSpecifications=[{"ResourceType": "volume", "Tags": tags}]
    )
    return str(made["VolumeId"])


def test_a_nodes_root_volume_is_no_cache(stage_aws: Aws) -> None:
    where = an_environment(name="volumes")
    root, cache = a_volume(stage_aws, "volumes", "Name"), a_volume(stage_aws, "volumes", "CSIVolumeName")
    assert [left.identity.split()[0] for left in volumes(where, stage_aws)] == [cache]
    assert delete_volumes(where, stage_aws) == [cache]
    found = stage_aws.client("ec2").describe_volumes(VolumeIds=[root])["Volumes"]
    assert [volume["VolumeId"] for volume in found] == [root]


def test_a_log_group_that_came_back_is_listed_once(stage_aws: Aws) -> None:
    where, name = an_environment(name="logged", cluster={"name": "logged"}), "/aws/eks/logged/cluster"
    assert inventory(where, stage_aws) == []
    stage_aws.client("logs").create_log_group(logGroupName=name)
    assert [str(left) for left in inventory(where, stage_aws)] == [f"logs log-group:{name}"]
    stage_aws.client("logs").tag_log_group(logGroupName=name, tags={ENVIRONMENT_TAG: "logged"})
    assert [str(left) for left in inventory(where, stage_aws)] == [f"logs log-group:{name}"]
