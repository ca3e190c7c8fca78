from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.aws.conftest import Aws, until

G_QUOTA = "L-DB2E81BA"


@pytest.fixture(scope="module")
def quotas(aws: Aws) -> Any:
    return aws.client("service-quotas")


def test_gpu_quotas_are_granted(quotas: Any) -> None:
    quota = quotas.get_service_quota(ServiceCode="ec2", QuotaCode=G_QUOTA)["Quota"]
    assert (quota["Value"], quota["QuotaName"]) == (64.0, "Running On-Demand G and VT instances")
    for code in ("L-417A185B", "L-3819A6DF"):
        assert quotas.get_service_quota(ServiceCode="ec2", QuotaCode=code)["Quota"]["Value"] == 64.0


def test_aws_grants_no_gpus_by_default(quotas: Any) -> None:
    quota = quotas.get_aws_default_service_quota(ServiceCode="ec2", QuotaCode=G_QUOTA)["Quota"]
    assert quota["Value"] == 0.0


def test_the_fault_quota_zero_takes_the_gpus_away(aws: Aws, quotas: Any) -> None:
    aws.faults.set("quota-zero")
    assert quotas.get_service_quota(ServiceCode="ec2", QuotaCode=G_QUOTA)["Quota"]["Value"] == 0.0


def test_an_unknown_quota_is_no_such_resource(quotas: Any) -> None:
    with pytest.raises(quotas.exceptions.NoSuchResourceException):
        quotas.get_service_quota(ServiceCode="ec2", QuotaCode="L-00000000")


def test_a_price_is_found_by_type_and_region(aws: Aws) -> None:
    filters = [
        {"Type": "TERM_MATCH", "Field": field, "Value": value}
        for field, value in (
            ("instanceType", "g6.xlarge"),
            ("regionCode", "us-east-1"),
            ("operatingSystem", "Linux"),
            ("tenancy", "Shared"),
            ("preInstalledSw", "NA"),
            ("capacitystatus", "Used"),
        )
    ]
    found = aws.client("pricing").get_products(ServiceCode="AmazonEC2", Filters=filters)["PriceList"]
    assert len(found) == 1
    term = next(iter(json.loads(found[0])["terms"]["OnDemand"].values()))
    dimension = next(iter(term["priceDimensions"].values()))
    assert (dimension["unit"], float(dimension["pricePerUnit"]["USD"])) == ("Hrs", 0.8048)


def test_eks_node_images_are_named_in_ssm(aws: Aws) -> None:
    name = "/aws/service/eks/optimized-ami/1.34/amazon-linux-2023/x86_64/nvidia/recommended/image_id"
    assert aws.client("ssm").get_parameter(Name=name)["Parameter"]["Value"].startswith("ami-")


def test_tagged_things_of_every_kind_are_found(
    aws: Aws, eks: Any, s3: Any, bucket: str, make_cluster: Any, role: str, subnets: list[str]
) -> None:
    run = uuid.uuid4().hex[:8]
    tag = {"slipway/run": run}
    pairs = [{"Key": "slipway/run", "Value": run}]
    ec2 = aws.client("ec2")

    def of(kind: str) -> list[dict[str, Any]]:
        return [{"ResourceType": kind, "Tags": pairs}]

    name = make_cluster(tags=tag)
    eks.create_nodegroup(clusterName=name, nodegroupName="g", subnets=subnets, nodeRole=role, tags=tag)
    eks.create_addon(clusterName=name, addonName="coredns", tags=tag)
    s3.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": pairs})
    vpc = ec2.create_vpc(CidrBlock="10.9.0.0/16", TagSpecifications=of("vpc"))["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.9.0.0/24", TagSpecifications=of("subnet"))["Subnet"]
    ec2.create_security_group(
        GroupName=run, Description="x", VpcId=vpc, TagSpecifications=of("security-group")
    )
    address = ec2.allocate_address(Domain="vpc", TagSpecifications=of("elastic-ip"))["AllocationId"]
    ec2.create_nat_gateway(
        SubnetId=subnet["SubnetId"], AllocationId=address, TagSpecifications=of("natgateway")
    )
    ec2.create_volume(AvailabilityZone="us-east-1a", Size=1, TagSpecifications=of("volume"))
    ec2.create_launch_template(
        LaunchTemplateName=run,
        LaunchTemplateData={"EbsOptimized": True},
        TagSpecifications=of("launch-template"),
    )
    ec2.create_vpc_endpoint(
        VpcId=vpc, ServiceName="com.amazonaws.us-east-1.s3", TagSpecifications=of("vpc-endpoint")
    )
    aws.client("kms").create_key(Tags=[{"TagKey": "slipway/run", "TagValue": run}])
    aws.client("logs").create_log_group(logGroupName=f"/{run}", tags=tag)
    aws.client("secretsmanager").create_secret(Name=run, SecretString="x", Tags=pairs)
    aws.client("ecr").create_repository(repositoryName=run, tags=pairs)

    tagging = aws.client("resourcegroupstaggingapi")
    pages = tagging.get_paginator("get_resources").paginate(
        TagFilters=[{"Key": "slipway/run", "Values": [run]}]
    )
    arns = [row["ResourceARN"] for page in pages for row in page["ResourceTagMappingList"]]
    kinds = {":".join((arn.split(":")[2], arn.split(":", 5)[5].split("/")[0].split(":")[0])) for arn in arns}
    wanted = "vpc subnet security-group elastic-ip natgateway volume launch-template vpc-endpoint"
    assert {f"ec2:{kind}" for kind in wanted.split()} <= kinds
    assert {"eks:cluster", "eks:nodegroup", "eks:addon", f"s3:{bucket}"} <= kinds
    assert {"kms:key", "logs:log-group", "secretsmanager:secret", "ecr:repository"} <= kinds


def test_a_resource_type_filter_narrows_to_clusters(aws: Aws, make_cluster: Any) -> None:
    run = uuid.uuid4().hex[:8]
    make_cluster(tags={"only": run})
    found = aws.client("resourcegroupstaggingapi").get_resources(
        ResourceTypeFilters=["eks:cluster"], TagFilters=[{"Key": "only", "Values": [run]}]
    )
    assert len(found["ResourceTagMappingList"]) == 1


def test_a_pull_through_cache_rule_lives_its_life(aws: Aws) -> None:
    ecr = aws.client("ecr")
    ecr.create_pull_through_cache_rule(ecrRepositoryPrefix="quay", upstreamRegistryUrl="quay.io")
    with pytest.raises(ecr.exceptions.PullThroughCacheRuleAlreadyExistsException):
        ecr.create_pull_through_cache_rule(ecrRepositoryPrefix="quay", upstreamRegistryUrl="quay.io")
    rules = ecr.describe_pull_through_cache_rules(ecrRepositoryPrefixes=["quay"])["pullThroughCacheRules"]
    assert rules[0]["upstreamRegistryUrl"] == "quay.io"
    assert (
        "upstreamRepositoryPrefix" not in rules[0]
    )  # ROOT told unasked would be a replacement in every plan
    ecr.delete_pull_through_cache_rule(ecrRepositoryPrefix="quay")
    with pytest.raises(ecr.exceptions.PullThroughCacheRuleNotFoundException):
        ecr.describe_pull_through_cache_rules(ecrRepositoryPrefixes=["quay"])


def test_docker_hub_needs_a_secret_for_its_cache_rule(aws: Aws) -> None:
    with pytest.raises(ClientError, match="credentialArn"):
        aws.client("ecr").create_pull_through_cache_rule(
            ecrRepositoryPrefix="hub", upstreamRegistryUrl="registry-1.docker.io"
        )


def test_a_snapshot_becomes_fast_in_the_zone_it_was_asked_for(aws: Aws) -> None:
    ec2 = aws.client("ec2")
    volume = ec2.create_volume(AvailabilityZone="us-east-1a", Size=1)["VolumeId"]
    snapshot = ec2.create_snapshot(VolumeId=volume)["SnapshotId"]
    made = ec2.enable_fast_snapshot_restores(SourceSnapshotIds=[snapshot], AvailabilityZones=["us-east-1a"])
    assert made["Successful"][0]["State"] == "enabling"

    def state() -> str:
        rows = ec2.describe_fast_snapshot_restores(Filters=[{"Name": "snapshot-id", "Values": [snapshot]}])
        return str(rows["FastSnapshotRestores"][0]["State"])

    until(lambda: state() == "enabled")
    ec2.disable_fast_snapshot_restores(SourceSnapshotIds=[snapshot], AvailabilityZones=["us-east-1a"])
    left = ec2.describe_fast_snapshot_restores()["FastSnapshotRestores"]
    assert snapshot not in [row["SnapshotId"] for row in left]


def test_the_operator_is_a_real_iam_user(aws: Aws) -> None:
    assert aws.client("sts").get_caller_identity()["Arn"].endswith(":user/slipway-operator")


def test_aws_managed_policies_are_there_to_attach(aws: Aws) -> None:
    aws.client("iam").get_policy(PolicyArn="arn:aws:iam::aws:policy/AmazonEKSWorkerNodePolicy")
