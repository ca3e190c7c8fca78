"""hashicorp/aws's own calls, made against this AWS in its order, with what its source reads of each answer.

The real provider cannot be had where these tests run. Its source can be read, so for every type of infra/terraform the
calls of its create, read, waiters and delete are here, from internal/service/*/ of hashicorp/terraform-provider-aws as of
6.23 to 6.2x (read 2026-11): a field it takes through a pointer must be there, a waiter must end, and what it sets in the
state must be what the configuration said, or the next plan is not clean. boto3's wire is that of AWS's Go SDK.
"""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from slipway_sandbox.settings import ACCOUNT_ID
from tests.terraform.cloud import Cloud
from tests.terraform.provider_creates import (
    ADMIN,
    BUCKET,
    CLUSTER,
    Made,
    Parameters,
    eventually,
    make_cluster,
    make_identities_and_keys,
    make_network,
    make_storage,
    make_ways_out,
)
from tests.terraform.provider_reads import ACCOUNT, EKS, NETWORK, Read, where


def at(document: Any, path: str) -> Any:
    """`Vpcs.0.State` of an answer; KeyError or IndexError where the provider would have found nil."""
    for step in path.split("."):
        document = document[int(step)] if step.isdigit() else document[step]
    return document


@pytest.fixture(scope="module")
def made(aws: Cloud) -> Made:
    made = Made(aws)
    make_network(made)
    make_ways_out(made)
    make_identities_and_keys(made)
    make_storage(made)
    make_cluster(made)
    return made


def filled(value: Any, made: Made) -> Any:
    if isinstance(value, str) and value.startswith("{") and value[1:-1] in made.ids:
        return made[value[1:-1]]
    if isinstance(value, list):
        return [filled(item, made) for item in value]
    if isinstance(value, dict):
        return {key: filled(item, made) for key, item in value.items()}
    return value


@pytest.mark.parametrize("read", [*NETWORK, *ACCOUNT, *EKS], ids=str)
def test_the_provider_reads_what_it_made(read: Read, made: Made) -> None:
    answer = made.call(read.service, read.operation, **filled(read.parameters, made))
    for path, wanted in read.holds.items():
        found = at(answer, path)
        assert found is not None if wanted is ... else found == filled(wanted, made), path


ABSENT = [
    ("eks", "describe_cluster", {"name": "no"}, "ResourceNotFoundException"),
    ("eks", "describe_addon", {"clusterName": CLUSTER, "addonName": "no"}, "ResourceNotFoundException"),
    ("eks", "describe_nodegroup", {"clusterName": CLUSTER, "nodegroupName": "no"}, "ResourceNotFoundException"),
    ("eks", "describe_access_entry", {"clusterName": CLUSTER, "principalArn": "arn:aws:iam::1:role/no"}, "ResourceNotFoundException"),
    ("eks", "describe_pod_identity_association", {"clusterName": CLUSTER, "associationId": "a-no"}, "ResourceNotFoundException"),
    ("ec2", "describe_vpcs", {"VpcIds": ["vpc-0123456789abcdef0"]}, "InvalidVpcID.NotFound"),
    ("ec2", "describe_subnets", {"SubnetIds": ["subnet-0123456789abcdef0"]}, "InvalidSubnetID.NotFound"),
    ("ec2", "describe_route_tables", {"RouteTableIds": ["rtb-0123456789abcdef0"]}, "InvalidRouteTableID.NotFound"),
    ("ec2", "describe_internet_gateways", {"InternetGatewayIds": ["igw-0123456789abcdef0"]}, "InvalidInternetGatewayID.NotFound"),
    ("ec2", "describe_addresses", {"AllocationIds": ["eipalloc-0123456789abcdef0"]}, "InvalidAllocationID.NotFound"),
    ("ec2", "describe_security_groups", {"GroupIds": ["sg-0123456789abcdef0"]}, "InvalidGroup.NotFound"),
    ("ec2", "describe_security_group_rules", {"SecurityGroupRuleIds": ["sgr-0123456789abcdef0"]}, "InvalidSecurityGroupRuleId.NotFound"),
    ("ec2", "describe_vpc_endpoints", {"VpcEndpointIds": ["vpce-0123456789abcdef0"]}, "InvalidVpcEndpointId.NotFound"),
    ("ec2", "describe_network_interfaces", {"NetworkInterfaceIds": ["eni-0123456789abcdef0"]}, "InvalidNetworkInterfaceID.NotFound"),
    ("ec2", "delete_nat_gateway", {"NatGatewayId": "nat-0123456789abcdef0"}, "NatGatewayNotFound"),
    ("iam", "get_role", {"RoleName": "no"}, "NoSuchEntity"),
    ("iam", "get_role_policy", {"RoleName": "probe", "PolicyName": "no"}, "NoSuchEntity"),
    ("kms", "describe_key", {"KeyId": "00000000-0000-0000-0000-000000000000"}, "NotFoundException"),
    ("secretsmanager", "describe_secret", {"SecretId": "no"}, "ResourceNotFoundException"),
    ("ecr", "describe_pull_through_cache_rules", {"ecrRepositoryPrefixes": ["no"]}, "PullThroughCacheRuleNotFoundException"),
    ("s3", "head_bucket", {"Bucket": "no-such-bucket"}, "404"),
    ("s3", "get_bucket_versioning", {"Bucket": "no-such-bucket"}, "NoSuchBucket"),
    ("s3control", "list_tags_for_resource", {"AccountId": ACCOUNT_ID, "ResourceArn": "arn:aws:s3:::no-such-bucket"}, "NoSuchBucket"),
    ("s3", "get_bucket_cors", {"Bucket": BUCKET}, "NoSuchCORSConfiguration"),
    ("s3", "get_bucket_website", {"Bucket": BUCKET}, "NoSuchWebsiteConfiguration"),
    ("s3", "get_bucket_replication", {"Bucket": BUCKET}, "ReplicationConfigurationNotFoundError"),
    ("s3", "get_object_lock_configuration", {"Bucket": BUCKET}, "ObjectLockConfigurationNotFoundError"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("service", "operation", "parameters", "code"), ABSENT, ids=[f"{row[1]}-{row[3]}" for row in ABSENT]
)
def test_what_is_not_there_has_the_code_the_provider_looks_for(
    service: str, operation: str, parameters: Parameters, code: str, made: Made
) -> None:
    with pytest.raises(ClientError) as caught:
        made.call(service, operation, **parameters)
    assert caught.value.response["Error"]["Code"] == code


def test_s3_control_adds_and_takes_tags(made: Made) -> None:
    bucket = {"AccountId": ACCOUNT_ID, "ResourceArn": f"arn:aws:s3:::{BUCKET}"}
    made.call("s3control", "tag_resource", **bucket, Tags=[{"Key": "a&b", "Value": "<c>"}])
    made.call("s3control", "untag_resource", **bucket, TagKeys=["Name"])
    assert made.call("s3", "get_bucket_tagging", Bucket=BUCKET)["TagSet"] == [{"Key": "a&b", "Value": "<c>"}]
    made.call("s3control", "tag_resource", **bucket, Tags=[{"Key": "Name", "Value": "probe"}])
    made.call("s3control", "untag_resource", **bucket, TagKeys=["a&b"])


REFUSED = [
    ("eks", "delete_cluster", {"name": CLUSTER}, "ResourceInUseException", "Cluster has nodegroups attached"),
    ("ec2", "delete_vpc", {"VpcId": "{vpc}"}, "DependencyViolation", "has dependencies and cannot be deleted"),
    ("ec2", "delete_subnet", {"SubnetId": "{subnet0}"}, "DependencyViolation", "has dependencies and cannot be deleted"),
    ("ec2", "delete_subnet", {"SubnetId": "{subnet1}"}, "DependencyViolation", "has dependencies and cannot be deleted"),
    ("ec2", "delete_security_group", {"GroupId": "{group}"}, "DependencyViolation", "has a dependent object"),
    ("ec2", "detach_internet_gateway", {"InternetGatewayId": "{gateway}", "VpcId": "{vpc}"}, "DependencyViolation", "has some mapped public address"),
    ("ec2", "release_address", {"AllocationId": "{address}"}, "InvalidIPAddress.InUse", "is in use"),
    ("ec2", "delete_route_table", {"RouteTableId": "{table}"}, "DependencyViolation", "has dependencies and cannot be deleted"),
    ("iam", "delete_role", {"RoleName": "probe"}, "DeleteConflict", "must d"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("service", "operation", "parameters", "code", "says"), REFUSED, ids=[row[1] for row in REFUSED]
)
def test_what_others_stand_on_is_not_deleted(
    service: str, operation: str, parameters: Parameters, code: str, says: str, made: Made
) -> None:
    with pytest.raises(ClientError, match=says) as caught:
        made.call(service, operation, **filled(parameters, made))
    assert caught.value.response["Error"]["Code"] == code


def test_the_provider_deletes_what_it_made_in_its_order(made: Made) -> None:
    """Last of this file: nothing of it is left for another test."""
    eks, ec2 = made.client("eks"), made.client("ec2")
    delete_cluster(made)
    ec2.disassociate_route_table(AssociationId=made["association"])
    ec2.delete_route(RouteTableId=made["table"], DestinationCidrBlock="0.0.0.0/0")
    assert (
        ec2.delete_vpc_endpoints(VpcEndpointIds=[made["endpoint"], made["interface"]])["Unsuccessful"] == []
    )
    ec2.delete_nat_gateway(NatGatewayId=made["nat"])
    assert ec2.describe_nat_gateways(NatGatewayIds=[made["nat"]])["NatGateways"][0]["State"] == "deleted"
    assert "AssociationId" not in ec2.describe_addresses(AllocationIds=[made["address"]])["Addresses"][0]
    ec2.release_address(AllocationId=made["address"])
    ec2.delete_route_table(RouteTableId=made["table"])
    ec2.delete_security_group(GroupId=made["group"])
    ec2.detach_internet_gateway(InternetGatewayId=made["gateway"], VpcId=made["vpc"])
    ec2.delete_internet_gateway(InternetGatewayId=made["gateway"])
    for number in range(2):
        assert not ec2.describe_network_interfaces(Filters=where(subnet_id=made[f"subnet{number}"]))[
            "NetworkInterfaces"
        ]
        ec2.delete_subnet(SubnetId=made[f"subnet{number}"])
    ec2.delete_vpc(VpcId=made["vpc"])
    ec2.delete_launch_template(LaunchTemplateId=made["template"])
    assert not eks.list_clusters()["clusters"]
    delete_the_rest(made)


def delete_cluster(made: Made) -> None:
    eks = made.client("eks")
    admin = {"clusterName": CLUSTER, "principalArn": made["role"]}
    eks.disassociate_access_policy(**admin, policyArn=ADMIN)
    eks.delete_access_entry(**admin)
    eks.delete_nodegroup(clusterName=CLUSTER, nodegroupName="gpu")
    eks.delete_addon(clusterName=CLUSTER, addonName="vpc-cni", preserve=False)
    eks.delete_pod_identity_association(clusterName=CLUSTER, associationId=made["pods"])
    eventually(lambda: not eks.list_nodegroups(clusterName=CLUSTER)["nodegroups"])
    eventually(lambda: not eks.list_addons(clusterName=CLUSTER)["addons"])
    eks.delete_cluster(name=CLUSTER)
    eventually(lambda: CLUSTER not in eks.list_clusters()["clusters"])


def delete_the_rest(made: Made) -> None:
    s3, iam, kms = made.client("s3"), made.client("iam"), made.client("kms")
    s3.delete_bucket_policy(Bucket=BUCKET)
    s3.delete_bucket_lifecycle(Bucket=BUCKET)
    s3.delete_bucket_encryption(Bucket=BUCKET)
    s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Suspended"})
    s3.delete_public_access_block(Bucket=BUCKET)
    s3.delete_bucket_ownership_controls(Bucket=BUCKET)
    s3.delete_bucket(Bucket=BUCKET)
    iam.delete_role_policy(RoleName="probe", PolicyName="read")
    iam.detach_role_policy(RoleName="probe", PolicyArn="arn:aws:iam::aws:policy/AmazonEKSClusterPolicy")
    iam.delete_role(RoleName="probe")
    made.call("logs", "delete_log_group", logGroupName="/aws/eks/probe/cluster")
    made.call("ecr", "delete_pull_through_cache_rule", ecrRepositoryPrefix="probe", registryId=ACCOUNT_ID)
    # both are found, and gone for the provider by these
    made.call("secretsmanager", "delete_secret", SecretId="probe/hub-token", RecoveryWindowInDays=7)
    assert made.call("secretsmanager", "describe_secret", SecretId="probe/hub-token")["DeletedDate"]
    kms.delete_alias(AliasName="alias/probe")
    kms.schedule_key_deletion(KeyId=made["key"].rpartition("/")[2], PendingWindowInDays=7)
    assert kms.describe_key(KeyId=made["key"])["KeyMetadata"]["KeyState"] == "PendingDeletion"
