"""vCPU quotas are counted down by what runs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError
from moto.ec2.models.instance_types import INSTANCE_TYPES

from slipway_sandbox.aws.vcpus import CODES, cpu_options, quota_of, vcpus_of
from tests.aws.conftest import Aws, until

GPU_TYPES = sorted(
    name
    for name in INSTANCE_TYPES
    if any(name.startswith(family) and name[len(family)].isdigit() for family in CODES)
    and not name.endswith("metal")
)


def test_a_sizes_name_tells_its_vcpus_as_ec2s_table_does() -> None:
    assert len(GPU_TYPES) > 30
    table = {name: INSTANCE_TYPES[name]["VCpuInfo"]["DefaultVCpus"] for name in GPU_TYPES}
    assert {name: vcpus_of(name) for name in GPU_TYPES} == table


@pytest.mark.parametrize(
    ("name", "spot", "code"),
    [
        ("g5.2xlarge", False, "L-DB2E81BA"),
        ("g6e.2xlarge", True, "L-3819A6DF"),
        ("p5.48xlarge", False, "L-417A185B"),
        ("p5.48xlarge", True, "L-C4BD4855"),
        ("p4d.24xlarge", True, "L-7212CCBC"),
        ("m6i.large", False, "L-1216C47A"),
    ],
)
def test_a_type_counts_against_its_quota(name: str, spot: bool, code: str) -> None:
    assert quota_of(name, spot=spot) == code


def test_a_graviton_vcpu_is_a_core() -> None:
    assert cpu_options("m7g.xlarge") == {"CoreCount": 4, "ThreadsPerCore": 1}
    assert cpu_options("g5.xlarge") == {"CoreCount": 2, "ThreadsPerCore": 2}


@pytest.fixture
def running(aws: Aws, subnets: list[str]) -> Iterator[Any]:
    """48 of the 64 G vCPUs in use by somebody else's instance."""
    ec2 = aws.client("ec2")
    ask = {"ImageId": "ami-12c6146b", "MinCount": 1, "MaxCount": 1, "SubnetId": subnets[0]}
    made = ec2.run_instances(**ask, InstanceType="g5.12xlarge")["Instances"][0]["InstanceId"]
    yield ask
    ec2.terminate_instances(InstanceIds=[made])


def test_ec2_refuses_what_goes_beyond_the_quota(aws: Aws, running: Any) -> None:
    ec2 = aws.client("ec2")
    with pytest.raises(ClientError, match="your current vCPU limit of 64 allows") as caught:
        ec2.run_instances(**running, InstanceType="g5.12xlarge")
    assert caught.value.response["Error"]["Code"] == "VcpuLimitExceeded"
    fits = ec2.run_instances(**running, InstanceType="g5.2xlarge")["Instances"][0]
    assert fits["CpuOptions"]["CoreCount"] * fits["CpuOptions"]["ThreadsPerCore"] == 8
    ec2.terminate_instances(InstanceIds=[fits["InstanceId"]])


def test_a_node_group_beyond_the_quota_says_so_in_ec2s_words(
    aws: Aws, eks: Any, cluster: str, role: str, subnets: list[str], running: Any
) -> None:
    group = {"clusterName": cluster, "nodegroupName": "too-many"}
    size = {"minSize": 0, "maxSize": 4, "desiredSize": 3}
    eks.create_nodegroup(
        **group, subnets=subnets, nodeRole=role, instanceTypes=["g5.2xlarge"], scalingConfig=size
    )
    until(lambda: eks.describe_nodegroup(**group)["nodegroup"]["status"] == "CREATE_FAILED")
    issue = eks.describe_nodegroup(**group)["nodegroup"]["health"]["issues"][0]
    assert issue["code"] == "AsgInstanceLaunchFailures"
    assert "VcpuLimitExceeded - You have requested more vCPU capacity" in issue["message"]
    eks.delete_nodegroup(**group)


def test_spot_instances_count_against_the_spot_quota(aws: Aws, running: Any) -> None:
    """48 vCPUs run on demand: spot has 64 of its own."""
    ec2 = aws.client("ec2")
    market = {"InstanceMarketOptions": {"MarketType": "spot"}}
    spot = ec2.run_instances(**running, **market, InstanceType="g5.12xlarge")["Instances"][0]
    assert spot["InstanceLifecycle"] == "spot"
    with pytest.raises(ClientError) as caught:
        ec2.run_instances(**running, **market, InstanceType="g5.12xlarge")
    assert caught.value.response["Error"]["Code"] == "MaxSpotInstanceCountExceeded"
    ec2.terminate_instances(InstanceIds=[spot["InstanceId"]])
