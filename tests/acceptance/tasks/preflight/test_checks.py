from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError
from slipway_sandbox.testing import Sandbox

from tasks.cloud.aws import Aws, error_code
from tasks.preflight.facts import (
    NOT_FOR_EKS,
    Facts,
    Support,
    foreign_buckets,
    instance_type,
    observe,
    quota_need,
    support_of,
)
from tasks.preflight.gpus import capability_of
from tasks.preflight.nodes import InstanceType
from tasks.preflight.quota import QuotaNeed
from tasks.records.errors import PreflightFailed
from tests.support.builders import a_model, an_environment
from tests.support.clouds import client_of

GIB = 2**30
FACTS = Facts(
    account="123456789012",
    instance=InstanceType("g5.2xlarge", 8, 32 * GIB, 1, 24 * GIB, "NVIDIA A10G", 58),
    zones=("us-east-1a", "us-east-1b"),
    zone="us-east-1a",
    quota=QuotaNeed("L-DB2E81BA", 64, 0, 8),
    support=Support("STANDARD_SUPPORT", "2027-03-27"),
)


# ------------------------------------------------------------------- over AWS


def test_an_instance_type_is_read_as_ec2_describes_it(stage_aws: Aws) -> None:
    found = instance_type(stage_aws, "g5.2xlarge")
    assert (found.vcpus, found.memory, found.gpus, found.max_pods) == (8, 32 * GIB, 1, 58)
    assert 22 * GIB < found.gpu_memory <= 24 * GIB
    assert "A10G" in found.gpu_name
    assert found.architectures == ("x86_64",)
    assert instance_type(stage_aws, "g5g.xlarge").architectures == ("arm64",)


@pytest.mark.parametrize(
    ("kind", "capability"),
    [
        ("g4dn.xlarge", 75),
        ("g5g.xlarge", 75),
        ("g5.xlarge", 86),
        ("g6.xlarge", 89),
        ("g6e.xlarge", 89),
        ("g7e.2xlarge", 120),
        ("p3dn.24xlarge", 70),
        ("p4d.24xlarge", 80),
        ("p4de.24xlarge", 80),
        ("p5.48xlarge", 90),
        ("p5en.48xlarge", 90),
        ("p6-b200.48xlarge", 100),
    ],
)
def test_the_gpus_ec2_names_have_a_known_compute_capability(
    stage_aws: Aws, kind: str, capability: int
) -> None:
    assert capability_of(instance_type(stage_aws, kind).gpu_name) == capability


def test_an_instance_type_that_does_not_exist_is_told_as_that(stage_aws: Aws) -> None:
    with pytest.raises(PreflightFailed, match=r"no instance type g99\.large in us-east-1"):
        instance_type(stage_aws, "g99.large")


def test_everything_is_read_without_changing_anything(
    stage_aws: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLIPWAY_REGISTRY_ENDPOINT", "http://127.0.0.1:1")
    facts = observe(an_environment(), stage_aws, a_model())
    assert facts.account == "123456789012"
    assert facts.zones
    assert facts.quota
    assert facts.zone_ids[facts.zone] not in NOT_FOR_EKS


def test_kubernetes_versions_are_told_by_their_support(stage_aws: Aws) -> None:
    eks = stage_aws.client("eks")
    for row in eks.describe_cluster_versions(includeAll=True)["clusterVersions"]:
        day = f"{row['endOfStandardSupportDate']:%Y-%m-%d}"
        assert support_of(row["clusterVersion"], stage_aws) == Support(row["versionStatus"], day)
    assert support_of("1.20", stage_aws) is None


def test_every_zone_without_control_planes_is_known(stage_aws: Aws) -> None:
    # EKS itself says which are left
    eks, ec2 = stage_aws.client("eks"), stage_aws.client("ec2")
    zones = {z["ZoneName"]: z["ZoneId"] for z in ec2.describe_availability_zones()["AvailabilityZones"]}
    default = ec2.describe_subnets(Filters=[{"Name": "default-for-az", "Values": ["true"]}])["Subnets"]
    role = stage_aws.client("iam").create_role(RoleName="zones", AssumeRolePolicyDocument="{}")
    with pytest.raises(ClientError) as refused:
        eks.create_cluster(
            name="zones",
            roleArn=role["Role"]["Arn"],
            resourcesVpcConfig={"subnetIds": [subnet["SubnetId"] for subnet in default]},
        )
    assert error_code(refused.value) == "UnsupportedAvailabilityZoneException"
    answer: Any = refused.value.response
    valid = answer["validZones"]
    assert {zones[zone] for zone in zones.keys() - set(valid)} == NOT_FOR_EKS & set(zones.values())


def test_buckets_of_others_are_told_and_left(sandbox_aws: Sandbox, stage_aws: Aws) -> None:
    theirs, ours = "preflight-theirs", "preflight-ours"
    client_of(sandbox_aws, "999988887777", "s3").create_bucket(Bucket=theirs)
    stage_aws.client("s3").create_bucket(Bucket=ours)
    where = an_environment(storage={"state_bucket": theirs, "model_bucket": ours})
    assert list(foreign_buckets(where, stage_aws)) == [theirs]
    team = {"TagSet": [{"Key": "Owner", "Value": "network"}]}
    stage_aws.client("s3").put_bucket_tagging(Bucket=ours, Tagging=team)
    assert "Owner=network" in foreign_buckets(where, stage_aws)[ours]


class Running:
    """What EC2 says is running; the sandbox's EC2 leaves CpuOptions out, so it is written down here."""

    def __init__(self, aws: Aws, *instances: dict[str, Any]) -> None:
        self._aws, self._instances = aws, instances

    def client(self, service: str) -> Any:
        return self if service == "ec2" else self._aws.client(service)

    def get_paginator(self, operation: str) -> Any:
        return self

    def paginate(self, **request: Any) -> list[dict[str, Any]]:
        return [{"Reservations": [{"Instances": list(self._instances)}]}]


def an_instance(kind: str = "g5.2xlarge", cluster: str = "", lifecycle: str = "") -> dict[str, Any]:
    found = {
        "InstanceType": kind,
        "CpuOptions": {"CoreCount": 4, "ThreadsPerCore": 2},
        "Tags": [{"Key": "eks:cluster-name", "Value": cluster}] if cluster else [],
    }
    return found | ({"InstanceLifecycle": lifecycle} if lifecycle else {})


@pytest.mark.parametrize(
    ("running", "capacity", "used", "needed"),
    [
        ([], "ON_DEMAND", 0, 8),
        ([an_instance()], "ON_DEMAND", 8, 8),
        ([an_instance(cluster="slipway-staging")], "ON_DEMAND", 8, 0),  # our node runs already
        ([an_instance("m6i.2xlarge")], "ON_DEMAND", 0, 8),
        ([an_instance("p4d.24xlarge")], "ON_DEMAND", 0, 8),
        ([an_instance()], "SPOT", 0, 8),  # what runs on demand does not count against the spot quota
        ([an_instance(lifecycle="spot")], "SPOT", 8, 8),
        ([an_instance(lifecycle="spot")], "ON_DEMAND", 0, 8),
    ],
)
def test_what_a_quota_has_left(
    stage_aws: Aws, running: list[dict[str, Any]], capacity: str, used: float, needed: float
) -> None:
    environment = an_environment(cluster={"gpu": {"capacity_type": capacity}})
    aws: Any = Running(stage_aws, *running)
    need = quota_need(environment, aws, FACTS.instance, nodes=1)
    assert need
    assert (need.used, need.needed) == (used, needed)
