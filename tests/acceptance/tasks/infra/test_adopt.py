"""The finders against a running AWS, with resources made as a killed apply would have left them."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest

from tasks.cloud.aws import Aws
from tasks.infra.adopt import FINDERS, imports
from tasks.infra.plan import Change
from tasks.records.errors import NotOurs

TRUST = json.dumps({"Version": "2012-10-17", "Statement": []})
READ = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::x/*"}],
    }
)


@pytest.fixture
def name() -> str:
    return f"n-{uuid.uuid4().hex[:8]}"


def adopt(aws: Aws, kind: str, planned: dict[str, Any], action: str = "create") -> str | None:
    return imports([Change(f"{kind}.this", kind, action, planned)], aws).get(f"{kind}.this")


def tagged(kind: str, name: str, environment: str = "staging") -> list[dict[str, Any]]:
    tags = [{"Key": "Name", "Value": name}, {"Key": "slipway:environment", "Value": environment}]
    return [{"ResourceType": kind, "Tags": tags}]


def tags(name: str) -> dict[str, Any]:
    return {"tags_all": {"Name": name, "slipway:environment": "staging"}}


@pytest.fixture
def vpc(stage_aws: Aws, name: str) -> str:
    made = stage_aws.client("ec2").create_vpc(CidrBlock="10.9.0.0/16", TagSpecifications=tagged("vpc", name))
    return str(made["Vpc"]["VpcId"])


def test_nothing_is_adopted_where_nothing_is_there(stage_aws: Aws, name: str) -> None:
    planned = {
        **tags(name), "bucket": name, "name": f"/{name}", "description": name, "role": name,
        "policy_arn": "arn:aws:iam::aws:policy/AmazonEKSClusterPolicy", "cluster_name": name,
        "node_group_name": name, "addon_name": "vpc-cni", "principal_arn": f"arn:aws:iam::123456789012:role/{name}",
        "namespace": name, "service_account": name, "vpc_id": "vpc-00000000",
    }  # fmt: skip
    linked = {"aws_route", "aws_route_table_association"}  # these are asked only once their table is known
    named = {
        "aws_iam_role": name,
        "aws_iam_role_policy": name,
        "aws_eks_cluster": name,
        "aws_kms_alias": f"alias/{name}",
    }
    for kind in sorted(set(FINDERS) - linked):
        assert adopt(stage_aws, kind, {**planned, "name": named.get(kind, name)}) is None, kind


def test_a_vpc_is_found_by_its_tags(stage_aws: Aws, name: str, vpc: str) -> None:
    assert adopt(stage_aws, "aws_vpc", tags(name)) == vpc


def test_a_vpc_of_another_environment_is_left_alone(stage_aws: Aws, name: str, vpc: str) -> None:
    assert adopt(stage_aws, "aws_vpc", {"tags_all": {"Name": name, "slipway:environment": "prod"}}) is None


@pytest.mark.parametrize("action", ["update", "delete", "replace", "import"])
def test_only_creations_are_looked_for(stage_aws: Aws, name: str, vpc: str, action: str) -> None:
    assert adopt(stage_aws, "aws_vpc", tags(name), action) is None


@pytest.mark.parametrize("kind", ["aws_vpc", "aws_eip", "aws_nat_gateway", "aws_subnet", "aws_route_table"])
@pytest.mark.parametrize("planned", [{"tags": None}, {"tags_all": {}, "tags": {}}, {}])
def test_without_a_name_tag_a_strangers_resource_is_never_taken(
    stage_aws: Aws, kind: str, planned: dict[str, Any]
) -> None:
    ec2 = stage_aws.client("ec2")
    ec2.allocate_address(Domain="vpc")
    assert adopt(stage_aws, kind, planned) is None


def test_network_pieces_are_found(stage_aws: Aws, name: str, vpc: str) -> None:
    ec2 = stage_aws.client("ec2")
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.9.1.0/24", TagSpecifications=tagged("subnet", name))
    table = ec2.create_route_table(VpcId=vpc, TagSpecifications=tagged("route-table", name))
    gateway = ec2.create_internet_gateway(TagSpecifications=tagged("internet-gateway", name))
    address = ec2.allocate_address(Domain="vpc", TagSpecifications=tagged("elastic-ip", name))
    group = ec2.create_security_group(GroupName=name, Description="d", VpcId=vpc)
    subnet_id, table_id = subnet["Subnet"]["SubnetId"], table["RouteTable"]["RouteTableId"]
    gateway_id = gateway["InternetGateway"]["InternetGatewayId"]
    ec2.attach_internet_gateway(VpcId=vpc, InternetGatewayId=gateway_id)
    ec2.create_route(RouteTableId=table_id, DestinationCidrBlock="0.0.0.0/0", GatewayId=gateway_id)
    ec2.associate_route_table(RouteTableId=table_id, SubnetId=subnet_id)
    expected = [
        ("aws_subnet", tags(name), subnet_id),
        ("aws_route_table", tags(name), table_id),
        ("aws_internet_gateway", tags(name), gateway_id),
        ("aws_eip", tags(name), address["AllocationId"]),
        ("aws_security_group", {"name": name, "vpc_id": vpc}, group["GroupId"]),
        (
            "aws_route",
            {"route_table_id": table_id, "destination_cidr_block": "0.0.0.0/0"},
            f"{table_id}_0.0.0.0/0",
        ),
        (
            "aws_route_table_association",
            {"subnet_id": subnet_id, "route_table_id": table_id},
            f"{subnet_id}/{table_id}",
        ),
    ]
    for kind, planned, identity in expected:
        assert adopt(stage_aws, kind, planned) == identity, kind


def test_a_route_that_is_not_in_the_table_is_made(stage_aws: Aws, name: str, vpc: str) -> None:
    ec2 = stage_aws.client("ec2")
    table = ec2.create_route_table(VpcId=vpc, TagSpecifications=tagged("route-table", name))
    planned = {
        "route_table_id": table["RouteTable"]["RouteTableId"],
        "destination_cidr_block": "0.0.0.0/0",
    }
    assert adopt(stage_aws, "aws_route", planned) is None


def test_what_hangs_on_something_not_known_yet_is_asked_again_later(stage_aws: Aws) -> None:
    assert adopt(stage_aws, "aws_security_group", {"name": "x"}) is None
    assert adopt(stage_aws, "aws_route", {"destination_cidr_block": "0.0.0.0/0"}) is None


def test_roles_and_what_is_attached_to_them_are_found(stage_aws: Aws, name: str) -> None:
    iam = stage_aws.client("iam")
    policy = "arn:aws:iam::aws:policy/AmazonEKSClusterPolicy"
    iam.create_role(RoleName=name, AssumeRolePolicyDocument=TRUST)
    iam.attach_role_policy(RoleName=name, PolicyArn=policy)
    iam.put_role_policy(RoleName=name, PolicyName="s3", PolicyDocument=READ)
    assert adopt(stage_aws, "aws_iam_role", {"name": name}) == name
    attached = {"role": name, "policy_arn": policy}
    assert adopt(stage_aws, "aws_iam_role_policy_attachment", attached) == f"{name}/{policy}"
    assert adopt(stage_aws, "aws_iam_role_policy", {"role": name, "name": "s3"}) == f"{name}:s3"


def test_storage_pieces_are_found(stage_aws: Aws, name: str, bucket: str) -> None:
    kms, secrets = stage_aws.client("kms"), stage_aws.client("secretsmanager")
    key = kms.create_key(Description=f"{name}: models")["KeyMetadata"]["KeyId"]
    kms.create_alias(AliasName=f"alias/{name}", TargetKeyId=key)
    secret = secrets.create_secret(Name=name, SecretString="x")["ARN"]
    assert adopt(stage_aws, "aws_s3_bucket", {"bucket": bucket}) == bucket
    assert adopt(stage_aws, "aws_kms_key", {"description": f"{name}: models"}) == key
    assert adopt(stage_aws, "aws_kms_alias", {"name": f"alias/{name}"}) == f"alias/{name}"
    assert adopt(stage_aws, "aws_secretsmanager_secret", {"name": name}) == secret


def test_what_is_going_is_not_adopted(stage_aws: Aws, name: str) -> None:
    kms = stage_aws.client("kms")
    key = kms.create_key(Description=f"{name}: models")["KeyMetadata"]["KeyId"]
    kms.schedule_key_deletion(KeyId=key, PendingWindowInDays=7)
    assert adopt(stage_aws, "aws_kms_key", {"description": f"{name}: models"}) is None


def test_a_secret_in_its_recovery_window_is_brought_back(stage_aws: Aws, name: str) -> None:
    secrets = stage_aws.client("secretsmanager")
    made = secrets.create_secret(Name=name, SecretString="x")["ARN"]
    secrets.delete_secret(SecretId=name, RecoveryWindowInDays=7)
    assert adopt(stage_aws, "aws_secretsmanager_secret", {"name": name}) == made
    assert "DeletedDate" not in secrets.describe_secret(SecretId=name)


def test_a_log_group_of_a_longer_name_is_another(stage_aws: Aws, name: str) -> None:
    logs = stage_aws.client("logs")
    logs.create_log_group(logGroupName=f"/aws/eks/{name}-2/cluster")
    planned = {"name": f"/aws/eks/{name}"}
    assert adopt(stage_aws, "aws_cloudwatch_log_group", planned) is None
    logs.create_log_group(logGroupName=planned["name"])
    assert adopt(stage_aws, "aws_cloudwatch_log_group", planned) == planned["name"]


def test_eks_pieces_are_found_under_the_ids_terraform_imports(stage_aws: Aws, name: str) -> None:
    eks, ec2, iam = stage_aws.client("eks"), stage_aws.client("ec2"), stage_aws.client("iam")
    role = iam.create_role(RoleName=name, AssumeRolePolicyDocument=TRUST)["Role"]["Arn"]
    found = ec2.describe_subnets(Filters=[{"Name": "default-for-az", "Values": ["true"]}])
    subnets = [subnet["SubnetId"] for subnet in found["Subnets"][:2]]
    eks.create_cluster(
        name=name,
        roleArn=role,
        resourcesVpcConfig={"subnetIds": subnets},
        accessConfig={"authenticationMode": "API"},
    )
    assert adopt(stage_aws, "aws_eks_cluster", {"name": name}) == name  # waits until it is active
    policy = "arn:aws:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy"
    eks.create_access_entry(clusterName=name, principalArn=role)
    eks.associate_access_policy(
        clusterName=name, principalArn=role, policyArn=policy, accessScope={"type": "cluster"}
    )
    eks.create_addon(clusterName=name, addonName="vpc-cni")
    identity = eks.create_pod_identity_association(
        clusterName=name, namespace="llm", serviceAccount="vllm", roleArn=role
    )["association"]["associationId"]
    linked = {"cluster_name": name, "principal_arn": role}
    expected = [
        ("aws_eks_access_entry", linked, f"{name}:{role}"),
        ("aws_eks_access_policy_association", linked | {"policy_arn": policy}, f"{name}#{role}#{policy}"),
        ("aws_eks_addon", {"cluster_name": name, "addon_name": "vpc-cni"}, f"{name}:vpc-cni"),
        (
            "aws_eks_pod_identity_association",
            {"cluster_name": name, "namespace": "llm", "service_account": "vllm"},
            f"{name},{identity}",
        ),
    ]
    for kind, planned, written in expected:
        assert adopt(stage_aws, kind, planned) == written, kind


def made_by_others(aws: Aws, kind: str, name: str) -> dict[str, Any]:
    """A resource of a planned name with other tags; what the plan says of it."""
    owner = [{"Key": "Owner", "Value": "others"}]
    if kind == "aws_s3_bucket":
        aws.client("s3").create_bucket(Bucket=name)
        aws.client("s3").put_bucket_tagging(Bucket=name, Tagging={"TagSet": owner})
        return {"bucket": name}
    if kind == "aws_iam_role":
        aws.client("iam").create_role(RoleName=name, AssumeRolePolicyDocument=TRUST, Tags=owner)
    if kind == "aws_cloudwatch_log_group":
        aws.client("logs").create_log_group(logGroupName=name, tags={"Owner": "others"})
    if kind == "aws_kms_key":
        aws.client("kms").create_key(Description=name, Tags=[{"TagKey": "Owner", "TagValue": "others"}])
        return {"description": name}
    if kind == "aws_secretsmanager_secret":
        secrets = aws.client("secretsmanager")
        secrets.create_secret(Name=name, SecretString="x", Tags=owner)
        secrets.delete_secret(SecretId=name, RecoveryWindowInDays=7)
    if kind == "aws_launch_template":
        aws.client("ec2").create_launch_template(
            LaunchTemplateName=name,
            LaunchTemplateData={"InstanceType": "t3.micro"},
            TagSpecifications=[{"ResourceType": "launch-template", "Tags": owner}],
        )
    return {"name": name}


@pytest.mark.parametrize(
    "kind",
    [
        "aws_s3_bucket",
        "aws_iam_role",
        "aws_cloudwatch_log_group",
        "aws_kms_key",
        "aws_secretsmanager_secret",
        "aws_launch_template",
    ],
)
def test_what_others_made_under_a_planned_name_is_refused(stage_aws: Aws, kind: str, name: str) -> None:
    planned = made_by_others(stage_aws, kind, name)
    with pytest.raises(NotOurs) as refused:
        adopt(stage_aws, kind, planned | {"tags_all": {"slipway:environment": "staging"}})
    assert refused.value.evidence == ("Owner=others",)
    assert "environments/staging.yaml" in str(refused.value.next_command)
    if kind == "aws_secretsmanager_secret":
        assert "DeletedDate" in stage_aws.client("secretsmanager").describe_secret(SecretId=name)


def test_what_this_environment_made_is_adopted(stage_aws: Aws, name: str) -> None:
    mark = {"slipway:environment": "staging"}
    iam = stage_aws.client("iam")
    iam.create_role(
        RoleName=name, AssumeRolePolicyDocument=TRUST, Tags=[{"Key": k, "Value": v} for k, v in mark.items()]
    )
    assert adopt(stage_aws, "aws_iam_role", {"name": name, "tags_all": mark}) == name


def test_the_log_group_that_eks_makes_anew_without_tags_is_adopted(stage_aws: Aws, name: str) -> None:
    group = f"/aws/eks/{name}/cluster"
    stage_aws.client("logs").create_log_group(logGroupName=group)
    planned = {"name": group, "tags_all": {"slipway:environment": "staging"}}
    assert adopt(stage_aws, "aws_cloudwatch_log_group", planned) == group
