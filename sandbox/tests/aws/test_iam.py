"""IAM enforced: what the policies of a folder do not allow is refused, in each service's own words."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from slipway_sandbox.settings import DEPLOYER_KEY
from slipway_sandbox.testing import Sandbox, start

ACCOUNT = "123456789012"
LOOK = f"arn:aws:iam::{ACCOUNT}:role/aws-service-role/eks-nodegroup.amazonaws.com/*"
STATEMENTS: list[dict[str, Any]] = [
    {"Sid": "Free", "Action": ["ec2:DescribeVpcs", "s3:CreateBucket", "kms:ListKeys"], "Resource": "*"},
    {"Sid": "Object", "Action": ["s3:GetObject", "s3:PutObject"], "Resource": "arn:aws:s3:::ours/a/*"},
    {"Sid": "Role", "Action": "iam:GetRole", "Resource": f"arn:aws:iam::{ACCOUNT}:role/ours-*"},
    {"Sid": "Cluster", "Action": "eks:*", "Resource": f"arn:aws:eks:us-east-1:{ACCOUNT}:*/ours*"},
    {
        "Sid": "Region",
        "Action": "ec2:DescribeSubnets",
        "Resource": "*",
        "Condition": {"StringEquals": {"aws:RequestedRegion": "us-east-1"}},
    },
    {
        "Sid": "Tagged",
        "Action": ["ec2:CreateVolume", "ec2:DeleteVolume"],
        "Resource": "*",
        "Condition": {"StringLike": {"aws:ResourceTag/team": "our*"}},
    },
    {"Sid": "Pass", "Action": "iam:PassRole", "Resource": "*"},
    {
        "Sid": "Made",
        "Action": "ec2:CreateLaunchTemplate",
        "Resource": "arn:aws:ec2:us-east-1:*:launch-template/*",
        "Condition": {"StringEquals": {"aws:RequestTag/team": "ours"}},
    },
    {
        "Sid": "MadeTags",
        "Action": "ec2:CreateTags",
        "Resource": "arn:aws:ec2:us-east-1:*:launch-template/*",
        "Condition": {"StringEquals": {"ec2:CreateAction": "CreateLaunchTemplate"}},
    },
    {
        "Sid": "Profile",
        "Action": ["iam:CreateInstanceProfile", "iam:TagInstanceProfile"],
        "Resource": f"arn:aws:iam::{ACCOUNT}:instance-profile/*",
        "Condition": {"StringEqualsIfExists": {"aws:RequestTag/team": "ours"}},
    },
    {"Sid": "Queue", "Action": "sqs:CreateQueue", "Resource": f"arn:aws:sqs:us-east-1:{ACCOUNT}:ours-*"},
    {
        "Sid": "Rule",
        "Action": "events:PutRule",
        "Resource": f"arn:aws:events:us-east-1:{ACCOUNT}:rule/ours-*",
    },
]


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    policies = tmp_path_factory.mktemp("policies")
    statements = [{"Effect": "Allow", **statement} for statement in STATEMENTS]
    statements.append({"Sid": "Never", "Effect": "Deny", "Action": "kms:ListKeys", "Resource": "*"})
    document = {"Version": "2012-10-17", "Statement": statements}
    (policies / "ours.json").write_text(json.dumps(document))
    with start(tmp_path_factory.mktemp("iam"), parts=("aws",), policies=policies) as running:
        yield running


@pytest.fixture(scope="module")
def mine(guarded: Sandbox) -> Callable[..., Any]:
    """Clients of the user with these policies alone."""
    return lambda service, region=None: guarded.session(region).client(
        service, aws_access_key_id=DEPLOYER_KEY, aws_secret_access_key="x"
    )


def refusal(action: Callable[[], Any]) -> tuple[str, str]:
    with pytest.raises(ClientError) as refused:
        action()
    error = refused.value.response["Error"]
    return error["Code"], error["Message"]


def test_the_environment_is_the_users_and_the_sandboxs_own_clients_may_do_everything(
    guarded: Sandbox,
) -> None:
    assert guarded.environment["AWS_ACCESS_KEY_ID"] == DEPLOYER_KEY
    assert guarded.client("kms").list_keys()["Keys"] == []


def test_what_is_allowed_is_done(mine: Callable[..., Any]) -> None:
    assert mine("sts").get_caller_identity()["Arn"].endswith("user/slipway-deployer")
    assert mine("ec2").describe_vpcs()["Vpcs"]


@pytest.mark.parametrize(
    ("service", "call", "code", "action"),
    [
        ("ec2", lambda c: c.describe_volumes(), "UnauthorizedOperation", "ec2:DescribeVolumes"),
        ("iam", lambda c: c.list_roles(), "AccessDenied", "iam:ListRoles"),
        ("logs", lambda c: c.describe_log_groups(), "AccessDeniedException", "logs:DescribeLogGroups"),
        ("eks", lambda c: c.list_clusters(), "AccessDeniedException", "eks:ListClusters"),
        ("s3", lambda c: c.list_buckets(), "AccessDenied", "s3:ListAllMyBuckets"),
        (
            "service-quotas",
            lambda c: c.get_service_quota(ServiceCode="ec2", QuotaCode="L-DB2E81BA"),
            "AccessDeniedException",
            "servicequotas:GetServiceQuota",
        ),
        (
            "resourcegroupstaggingapi",
            lambda c: c.get_resources(),
            "AccessDeniedException",
            "tag:GetResources",
        ),
    ],
)
def test_a_denial_has_the_services_code_and_names_the_action(
    mine: Callable[..., Any], service: str, call: Callable[[Any], Any], code: str, action: str
) -> None:
    found, words = refusal(lambda: call(mine(service)))
    assert found == code
    assert f"is not authorized to perform: {action} on resource: *" in words


def test_a_deny_wins(mine: Callable[..., Any]) -> None:
    assert "explicit deny" in refusal(lambda: mine("kms").list_keys())[1]


def test_resources_are_told_apart(guarded: Sandbox, mine: Callable[..., Any]) -> None:
    s3, iam = mine("s3"), guarded.client("iam")
    s3.create_bucket(Bucket="ours")
    s3.put_object(Bucket="ours", Key="a/x", Body=b"1")
    code, words = refusal(lambda: s3.put_object(Bucket="ours", Key="b/x", Body=b"1"))
    assert (code, "arn:aws:s3:::ours/b/x" in words) == ("AccessDenied", True)
    for name in ("ours-node", "theirs"):
        iam.create_role(RoleName=name, AssumeRolePolicyDocument="{}")
    assert mine("iam").get_role(RoleName="ours-node")
    assert "role/theirs" in refusal(lambda: mine("iam").get_role(RoleName="theirs"))[1]
    assert refusal(lambda: mine("eks").describe_cluster(name="ours"))[0] == "ResourceNotFoundException"
    assert refusal(lambda: mine("eks").describe_cluster(name="x"))[0] == "AccessDeniedException"


def test_of_many_objects_each_is_authorized(guarded: Sandbox, mine: Callable[..., Any]) -> None:
    guarded.client("s3").create_bucket(Bucket="many")
    objects = [{"Key": "a/1", "VersionId": "null"}, {"Key": "b/<2>"}]
    refusal(lambda: mine("s3").delete_objects(Bucket="many", Delete={"Objects": objects}))
    assert guarded.decisions()[-1]["resource"] == "arn:aws:s3:::many/a/1"
    assert guarded.decisions()[-1]["action"] == "s3:DeleteObjectVersion"


def test_conditions_hold_or_the_statement_does_not(guarded: Sandbox, mine: Callable[..., Any]) -> None:
    assert mine("ec2").describe_subnets()["Subnets"]
    assert refusal(lambda: mine("ec2", "eu-west-1").describe_subnets())[0] == "UnauthorizedOperation"
    ec2 = guarded.client("ec2")
    volumes = {
        team: ec2.create_volume(
            AvailabilityZone="us-east-1a",
            Size=1,
            TagSpecifications=[{"ResourceType": "volume", "Tags": [{"Key": "team", "Value": team}]}],
        )["VolumeId"]
        for team in ("ours", "theirs")
    }
    mine("ec2").delete_volume(VolumeId=volumes["ours"])
    code, words = refusal(lambda: mine("ec2").delete_volume(VolumeId=volumes["theirs"]))
    assert (code, f"volume/{volumes['theirs']}" in words) == ("UnauthorizedOperation", True)


def test_bytes_sealed_with_a_key_need_the_key(guarded: Sandbox, mine: Callable[..., Any]) -> None:
    key = guarded.client("kms").create_key()["KeyMetadata"]["Arn"]
    sealed = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": key}
    guarded.client("s3").create_bucket(Bucket="ours")
    put = {"Bucket": "ours", "Key": "a/sealed", "Body": b"1", **sealed}
    assert "kms:GenerateDataKey" in refusal(lambda: mine("s3").put_object(**put))[1]
    guarded.client("s3").put_object(**put)
    assert "kms:Decrypt" in refusal(lambda: mine("s3").get_object(Bucket="ours", Key="a/sealed"))[1]


def test_node_groups_need_a_look_at_the_service_linked_role(
    guarded: Sandbox, mine: Callable[..., Any]
) -> None:
    made = guarded.make_cluster("ours-with-nodes")
    group = {
        "clusterName": made.name,
        "nodegroupName": "gpu",
        "subnets": list(made.subnets),
        "nodeRole": made.role,
        "scalingConfig": {"minSize": 0, "maxSize": 1, "desiredSize": 0},
    }
    assert refusal(lambda: mine("eks").create_nodegroup(**group)) == (
        "InvalidRequestException",
        "Failed to validate if SLR: AWSServiceRoleForAmazonEKSNodegroup already exists due to missing permissions for 'iam:GetRole'",
    )
    iam, user = guarded.client("iam"), "slipway-deployer"
    actions = ["iam:GetRole", "iam:CreateServiceLinkedRole"]
    look = {"Effect": "Allow", "Action": actions, "Resource": LOOK}
    document = json.dumps({"Version": "2012-10-17", "Statement": [look]})
    iam.put_user_policy(UserName=user, PolicyName="look", PolicyDocument=document)
    mine("eks").create_nodegroup(**group)
    iam.delete_user_policy(UserName=user, PolicyName="look")


def test_every_decision_about_the_user_is_kept(guarded: Sandbox, mine: Callable[..., Any]) -> None:
    before = len(guarded.decisions())
    mine("ec2").describe_vpcs()
    refusal(lambda: mine("ec2").describe_volumes())
    allowed, denied = guarded.decisions()[before:]
    assert (allowed["action"], allowed["allowed_by"]) == ("ec2:DescribeVpcs", ["ours/Free"])
    assert (denied["action"], denied["allowed_by"]) == ("ec2:DescribeVolumes", [])


@pytest.mark.parametrize(("team", "allowed"), [("ours", True), ("theirs", False)])
def test_what_is_made_is_judged_by_the_tags_that_are_asked_for_it(
    mine: Callable[..., Any], team: str, allowed: bool
) -> None:
    tags = [{"Key": "team", "Value": team}]
    calls: list[Callable[[], Any]] = [
        lambda: mine("ec2").create_launch_template(
            LaunchTemplateName=f"made-{team}",
            LaunchTemplateData={"InstanceType": "m5.large"},
            TagSpecifications=[{"ResourceType": "launch-template", "Tags": tags}],
        ),
        lambda: mine("iam").create_instance_profile(InstanceProfileName=f"made-{team}", Tags=tags),
    ]
    for call in calls:
        if allowed:
            call()
        else:
            assert refusal(call)[0] in ("UnauthorizedOperation", "AccessDenied")


@pytest.mark.parametrize(("name", "allowed"), [("ours-a", True), ("theirs", False)])
def test_queues_and_rules_are_named_by_their_arns(mine: Callable[..., Any], name: str, allowed: bool) -> None:
    calls: list[Callable[[], Any]] = [
        lambda: mine("sqs").create_queue(QueueName=name),
        lambda: mine("events").put_rule(Name=name, EventPattern='{"source": ["aws.ec2"]}'),
    ]
    for call in calls:
        if allowed:
            call()
        else:
            assert "AccessDenied" in refusal(call)[0]
