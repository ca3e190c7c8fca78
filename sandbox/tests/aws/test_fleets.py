"""CreateFleet of type instant: the cheapest that can be had, and the errors of what could not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.aws.conftest import Aws


@pytest.fixture
def template(aws: Aws) -> Iterator[str]:
    ec2 = aws.client("ec2")
    ec2.create_launch_template(
        LaunchTemplateName="fleet", LaunchTemplateData={"ImageId": "ami-12c6146b", "UserData": "aGVsbG8="}
    )
    yield "fleet"
    ec2.delete_launch_template(LaunchTemplateName="fleet")


def ask(aws: Aws, template: str, types: list[str], subnet: str, kind: str = "on-demand") -> Any:
    """One instance of any of these types."""
    return aws.client("ec2").create_fleet(
        Type="instant",
        LaunchTemplateConfigs=[
            {
                "LaunchTemplateSpecification": {"LaunchTemplateName": template, "Version": "$Latest"},
                "Overrides": [{"InstanceType": name, "SubnetId": subnet} for name in types],
            }
        ],
        TargetCapacitySpecification={"TotalTargetCapacity": 1, "DefaultTargetCapacityType": kind},
        TagSpecifications=[{"ResourceType": "instance", "Tags": [{"Key": "for", "Value": "test"}]}],
    )


@pytest.mark.parametrize(("kind", "lifecycle"), [("on-demand", None), ("spot", "spot")])
def test_the_cheapest_override_is_launched_from_the_template(
    aws: Aws, subnets: list[str], template: str, kind: str, lifecycle: str | None
) -> None:
    ec2 = aws.client("ec2")
    answer = ask(aws, template, ["g5.xlarge", "m5.large", "m5.xlarge"], subnets[0], kind)
    (made,) = answer["Instances"]
    assert (made["InstanceType"], made["Lifecycle"], answer["Errors"]) == ("m5.large", kind, [])
    identity = made["InstanceIds"][0]
    instance = ec2.describe_instances(InstanceIds=[identity])["Reservations"][0]["Instances"][0]
    assert (instance["SubnetId"], instance.get("InstanceLifecycle")) == (subnets[0], lifecycle)
    assert {"Key": "for", "Value": "test"} in instance["Tags"]
    data = ec2.describe_instance_attribute(InstanceId=identity, Attribute="userData")
    assert data["UserData"]["Value"] == "aGVsbG8="
    ec2.terminate_instances(InstanceIds=[identity])


def test_an_override_without_a_type_takes_the_templates(aws: Aws, subnets: list[str]) -> None:
    """And counts against the quota of that type: 64 vCPUs are granted, a p5.48xlarge has 192."""
    ec2 = aws.client("ec2")
    for kind, code in (("m5.xlarge", None), ("p5.48xlarge", "VcpuLimitExceeded")):
        data: Any = {"ImageId": "ami-12c6146b", "InstanceType": kind}
        ec2.create_launch_template(LaunchTemplateName=kind, LaunchTemplateData=data)
        answer = ec2.create_fleet(
            Type="instant",
            LaunchTemplateConfigs=[
                {
                    "LaunchTemplateSpecification": {"LaunchTemplateName": kind, "Version": "$Latest"},
                    "Overrides": [{"SubnetId": subnets[0]}],
                }
            ],
            TargetCapacitySpecification={"TotalTargetCapacity": 1, "DefaultTargetCapacityType": "on-demand"},
        )
        assert [e["ErrorCode"] for e in answer["Errors"]] == ([code] if code else [])
        assert [i["InstanceType"] for i in answer["Instances"]] == ([] if code else [kind])
        for made in answer["Instances"]:
            ec2.terminate_instances(InstanceIds=made["InstanceIds"])
        ec2.delete_launch_template(LaunchTemplateName=kind)


def test_what_has_no_capacity_is_told_and_the_next_one_taken(
    aws: Aws, subnets: list[str], template: str
) -> None:
    aws.faults.set("capacity", target="m5.large")
    answer = ask(aws, template, ["m5.large", "m5.xlarge"], subnets[0])
    aws.faults.clear()
    assert answer["Instances"][0]["InstanceType"] == "m5.xlarge"
    (error,) = answer["Errors"]
    assert error["ErrorCode"] == "InsufficientInstanceCapacity"
    assert error["LaunchTemplateAndOverrides"]["Overrides"]["InstanceType"] == "m5.large"
    aws.client("ec2").terminate_instances(InstanceIds=answer["Instances"][0]["InstanceIds"])


@pytest.mark.parametrize(
    ("kind", "code"), [("on-demand", "VcpuLimitExceeded"), ("spot", "MaxSpotInstanceCountExceeded")]
)
def test_a_quota_is_an_error_of_the_fleet(
    aws: Aws, subnets: list[str], template: str, kind: str, code: str
) -> None:
    answer = ask(aws, template, ["p5.48xlarge"], subnets[0], kind)
    assert (answer["Instances"], answer["Errors"][0]["ErrorCode"]) == ([], code)
