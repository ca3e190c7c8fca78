"""What exists and cannot be used is a failed row, read from AWS; nothing is changed by looking."""

from __future__ import annotations

from typing import Any

import pytest
from slipway_sandbox.testing import Sandbox

from tasks.cloud.aws import Aws
from tasks.preflight.api_access import judge, observe
from tasks.preflight.existing import existing_rows
from tasks.preflight.rights import judge_rights, lacking
from tests.support.builders import an_environment
from tests.support.clouds import client_of


def row_of(aws: Aws, name: str, existing: dict[str, Any], **over: Any) -> tuple[str, str]:
    row = existing_rows(an_environment(existing=existing, **over), aws)[0][name]
    assert bool(row.next_command) == (row.status == "fail")
    return row.status, row.detail


def subnets(aws: Aws, *zones: str, public: bool = False) -> tuple[str, list[str]]:
    """A VPC with a subnet in each of `zones`; its id and theirs."""
    ec2 = aws.client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.7.0.0/16")["Vpc"]["VpcId"]
    made = [
        ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.7.{number}.0/24", AvailabilityZone=zone)["Subnet"][
            "SubnetId"
        ]
        for number, zone in enumerate(zones)
    ]
    if public:
        gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
        ec2.attach_internet_gateway(VpcId=vpc, InternetGatewayId=gateway)
        [table] = ec2.describe_route_tables(Filters=[{"Name": "vpc-id", "Values": [vpc]}])["RouteTables"]
        ec2.create_route(
            RouteTableId=table["RouteTableId"], DestinationCidrBlock="0.0.0.0/0", GatewayId=gateway
        )
    return vpc, made


def test_a_vpc_without_private_subnets_is_refused(stage_aws: Aws) -> None:
    vpc, _ = subnets(stage_aws, "us-east-1a", "us-east-1b", public=True)
    assert row_of(stage_aws, "network", {"vpc": vpc})[0] == "fail"
    assert f"{vpc} has no private subnet" in row_of(stage_aws, "network", {"vpc": vpc})[1]


def test_subnets_in_one_zone_are_refused(stage_aws: Aws) -> None:
    vpc, made = subnets(stage_aws, "us-east-1a", "us-east-1a")
    for existing in ({"vpc": vpc}, {"subnets": made}):
        status, detail = row_of(stage_aws, "network", existing)
        assert (status, "are in us-east-1a only: EKS needs two zones" in detail) == ("fail", True)


def test_a_disabled_key_is_refused_by_its_name_and_as_a_buckets_own(stage_aws: Aws) -> None:
    kms, s3, bucket = stage_aws.client("kms"), stage_aws.client("s3"), "preflight-sealed"
    key = kms.create_key()["KeyMetadata"]
    s3.create_bucket(Bucket=bucket)
    rule = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key["KeyId"]}
    s3.put_bucket_encryption(
        Bucket=bucket,
        ServerSideEncryptionConfiguration={"Rules": [{"ApplyServerSideEncryptionByDefault": rule}]},
    )
    in_bucket: dict[str, Any] = {"existing": {"model_bucket": True}, "storage": {"model_bucket": bucket}}
    assert row_of(stage_aws, "key", **in_bucket)[0] == "ok"
    kms.disable_key(KeyId=key["KeyId"])
    for where in ({"existing": {"kms_key": key["Arn"]}}, in_bucket):
        status, detail = row_of(stage_aws, "key", **where)
        assert (status, "is Disabled" in detail) == ("fail", True)


@pytest.mark.parametrize("which", ["model_bucket", "state_bucket"])
def test_a_bucket_of_another_account_is_refused(sandbox_aws: Sandbox, stage_aws: Aws, which: str) -> None:
    bucket = f"strangers-{which.replace('_', '-')}"
    client_of(sandbox_aws, "999988887777", "s3").create_bucket(Bucket=bucket)
    status, detail = row_of(stage_aws, which.replace("_", " "), {which: True}, storage={which: bucket})
    assert (status, f"{bucket} belongs to another account" in detail) == ("fail", True)


@pytest.mark.parametrize("existing", [{}, {"cluster": "elsewhere"}])
def test_rights_are_asked_for_without_making_anything(stage_aws: Aws, existing: dict[str, Any]) -> None:
    ec2, where = stage_aws.client("ec2"), an_environment(existing=existing)

    def there() -> list[Any]:
        return [ec2.describe_addresses()["Addresses"], ec2.describe_launch_templates()["LaunchTemplates"]]

    before = there()
    assert judge_rights(lacking(where, stage_aws)).status == "ok"
    assert there() == before


def test_an_existing_cluster_that_does_not_answer_is_refused(sandbox_aws: Sandbox, stage_aws: Aws) -> None:
    sandbox_aws.make_cluster("silent")
    where = an_environment(existing={"cluster": "silent"})
    row = judge(where, observe(where, stage_aws))
    assert (row.status, "cannot be reached from here" in row.detail) == ("fail", True)
    assert row.next_command
