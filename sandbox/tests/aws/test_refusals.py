"""What AWS refuses and moto would not: other accounts, zones without control planes, principals that do not exist."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError

from slipway_sandbox.aws.eks.clusters import Clusters
from slipway_sandbox.aws.eks.state import Clock, State
from slipway_sandbox.aws.wire import Caller
from slipway_sandbox.faults import Faults
from slipway_sandbox.settings import ACCOUNT_ID
from tests.aws.conftest import Aws

STRANGER = "999988887777"


@pytest.fixture(scope="module")
def strange(aws: Aws) -> Callable[[str], Any]:
    """Clients with credentials of another account."""
    role = f"arn:aws:iam::{STRANGER}:role/somebody"
    keys = aws.client("sts").assume_role(RoleArn=role, RoleSessionName="test")["Credentials"]
    secrets = {"access_key": keys["AccessKeyId"], "secret_key": keys["SecretAccessKey"]}
    return lambda service: aws.client(service, **secrets)


def refusal(action: Callable[[], Any]) -> tuple[str, str]:
    with pytest.raises(ClientError) as refused:
        action()
    error = refused.value.response["Error"]
    return error["Code"], error["Message"]


def test_a_bucket_belongs_to_the_account_that_made_it(
    s3: Any, bucket: str, strange: Callable[[str], Any]
) -> None:
    theirs = strange("s3")
    assert refusal(lambda: theirs.head_bucket(Bucket=bucket))[0] == "403"
    assert refusal(lambda: theirs.create_bucket(Bucket=bucket))[0] == "BucketAlreadyExists"
    assert bucket not in [each["Name"] for each in theirs.list_buckets()["Buckets"]]


def test_a_copys_source_has_an_expected_owner_too(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="from", Body=b"x")
    copy = {"Bucket": bucket, "Key": "to", "CopySource": {"Bucket": bucket, "Key": "from"}}
    s3.copy_object(**copy, ExpectedSourceBucketOwner=ACCOUNT_ID)
    assert refusal(lambda: s3.copy_object(**copy, ExpectedSourceBucketOwner=STRANGER))[0] == "AccessDenied"


def policy(principal: Any) -> str:
    statement = {"Sid": "x", "Effect": "Allow", "Principal": principal, "Action": "*", "Resource": "*"}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


@pytest.mark.parametrize("account", [ACCOUNT_ID, STRANGER])
def test_a_policy_names_only_principals_that_exist(
    aws: Aws, s3: Any, bucket: str, strange: Callable[[str], Any], account: str
) -> None:
    kms, arn = aws.client("kms"), f"arn:aws:iam::{account}:role/reader"
    key = kms.create_key()["KeyMetadata"]["KeyId"]
    unknown = policy({"AWS": [arn]})
    assert refusal(lambda: s3.put_bucket_policy(Bucket=bucket, Policy=unknown)) == (
        "MalformedPolicy",
        "Invalid principal in policy",
    )
    for change in (
        lambda: kms.put_key_policy(KeyId=key, PolicyName="default", Policy=unknown),
        lambda: kms.create_key(Policy=unknown),
    ):
        code, words = refusal(change)
        assert (code, "invalid principals" in words) == ("MalformedPolicyDocumentException", True)
    iam = aws.client("iam") if account == ACCOUNT_ID else strange("iam")
    iam.create_role(RoleName="reader", AssumeRolePolicyDocument="{}")
    for principal in ({"AWS": arn}, {"AWS": f"arn:aws:iam::{account}:root"}, {"Service": "logs"}, "*"):
        s3.put_bucket_policy(Bucket=bucket, Policy=policy(principal))
        kms.put_key_policy(KeyId=key, PolicyName="default", Policy=policy(principal))


def test_a_zone_without_control_planes_is_refused_with_those_that_have_them(
    aws: Aws, eks: Any, role: str
) -> None:
    # of the default VPC: other tests of this AWS make subnets too
    subnets = {
        s["AvailabilityZoneId"]: s["SubnetId"]
        for s in aws.client("ec2").describe_subnets()["Subnets"]
        if s["DefaultForAz"]
    }
    with pytest.raises(ClientError) as refused:
        eks.create_cluster(
            name="zone",
            roleArn=role,
            resourcesVpcConfig={"subnetIds": [subnets["use1-az3"], subnets["use1-az1"]]},
        )
    answer: Any = refused.value.response
    assert answer["Error"]["Code"] == "UnsupportedAvailabilityZoneException"
    assert len(answer["validZones"]) == len(subnets) - 1
    assert "zone" not in eks.list_clusters()["clusters"]


def test_the_creator_listed_as_administrator_is_refused_a_second_entry(
    aws: Aws, eks: Any, cluster: str
) -> None:
    me = aws.client("sts").get_caller_identity()["Arn"]
    assert refusal(lambda: eks.create_access_entry(clusterName=cluster, principalArn=me)) == (
        "ResourceInUseException",
        "The specified access entry resource is already in use on this cluster.",
    )


@pytest.mark.parametrize(
    ("today", "status"),
    [
        (datetime(2026, 7, 28, 23, 59, tzinfo=UTC), "STANDARD_SUPPORT"),
        (datetime(2026, 7, 29, tzinfo=UTC), "EXTENDED_SUPPORT"),
        (datetime(2027, 7, 29, tzinfo=UTC), "UNSUPPORTED"),
    ],
)
def test_a_versions_support_follows_from_the_day(aws: Aws, today: datetime, status: str) -> None:
    faults = Faults(aws.settings.faults_file)
    state = State("us-east-1", aws.settings, faults, Clock(now=lambda: today))
    answer = Clusters(state, None).describe_cluster_versions(  # type: ignore[arg-type]  # it opens no door
        {"clusterVersions": ["1.33"], "includeAll": True}, Caller("AKIA", "us-east-1")
    )
    [row] = answer["clusterVersions"]
    assert (row["versionStatus"], row["status"]) == (status, status.lower().replace("_", "-"))


def test_versions_without_support_are_listed_only_where_all_are_asked_for(eks: Any) -> None:
    shown = {row["clusterVersion"] for row in eks.describe_cluster_versions()["clusterVersions"]}
    every = eks.describe_cluster_versions(includeAll=True)["clusterVersions"]
    assert shown == {row["clusterVersion"] for row in every if row["versionStatus"] != "UNSUPPORTED"}
