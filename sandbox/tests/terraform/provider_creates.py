"""hashicorp/aws's creates of every type in infra/terraform, as calls of boto3: see test_real_provider_calls.py."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import boto3
from botocore.config import Config

from slipway_sandbox.settings import ACCESS_KEY, SECRET_KEY
from tests.terraform.cloud import Cloud

ZONES = ("us-east-1a", "us-east-1b")
S3_SERVICE, ECR_SERVICE = "com.amazonaws.us-east-1.s3", "com.amazonaws.us-east-1.ecr.api"
TAGS = {"Name": "probe"}
CLUSTER, BUCKET = "probe", "probe-models"
ADMIN = "arn:aws:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy"
TRUST = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "eks.amazonaws.com"}}
        ],
    }
)
ALLOW = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}],
    }
)
Parameters = dict[str, Any]


@dataclass
class Made:
    """What the provider's creates left behind: names for the ids the reads need."""

    cloud: Cloud
    ids: dict[str, str] = field(default_factory=dict)

    def __getitem__(self, name: str) -> str:
        return self.ids[name]

    def client(self, service: str) -> Any:
        if service != "s3control":
            return self.cloud.client(service)
        url = self.cloud.settings.aws_url  # its host has no address: see slipway_sandbox.terraform.install
        return boto3.client(
            "s3control",
            endpoint_url=url,
            region_name="us-east-1",
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY,
            config=Config(proxies={"http": url}),
        )

    def call(self, service: str, operation: str, **parameters: Any) -> Any:
        return getattr(self.client(service), operation)(**parameters)


def tagged(kind: str) -> list[Parameters]:
    return [{"ResourceType": kind, "Tags": [{"Key": k, "Value": v} for k, v in TAGS.items()]}]


def eventually(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, "a waiter of the provider would not have ended"
        time.sleep(0.1)


def make_network(made: Made) -> None:
    ec2, ids = made.client("ec2"), made.ids
    ids["vpc"] = ec2.create_vpc(
        CidrBlock="10.0.0.0/16", InstanceTenancy="default", AmazonProvidedIpv6CidrBlock=False,
        TagSpecifications=tagged("vpc"),
    )["Vpc"]["VpcId"]  # fmt: skip
    ec2.modify_vpc_attribute(VpcId=ids["vpc"], EnableDnsHostnames={"Value": True})
    for number, zone in enumerate(ZONES):
        ids[f"subnet{number}"] = ec2.create_subnet(
            VpcId=ids["vpc"], CidrBlock=f"10.0.{number}.0/24", AvailabilityZone=zone,
            TagSpecifications=tagged("subnet"),
        )["Subnet"]["SubnetId"]  # fmt: skip
    ids["gateway"] = ec2.create_internet_gateway(TagSpecifications=tagged("internet-gateway"))[
        "InternetGateway"
    ]["InternetGatewayId"]
    ec2.attach_internet_gateway(InternetGatewayId=ids["gateway"], VpcId=ids["vpc"])
    ids["address"] = ec2.allocate_address(Domain="vpc", TagSpecifications=tagged("elastic-ip"))[
        "AllocationId"
    ]
    ids["nat"] = ec2.create_nat_gateway(
        ClientToken="nat", AllocationId=ids["address"], SubnetId=ids["subnet0"], ConnectivityType="public",
        TagSpecifications=tagged("natgateway"),
    )["NatGateway"]["NatGatewayId"]  # fmt: skip
    ids["table"] = ec2.create_route_table(
        VpcId=ids["vpc"], ClientToken="table", TagSpecifications=tagged("route-table")
    )["RouteTable"]["RouteTableId"]
    ec2.create_route(RouteTableId=ids["table"], DestinationCidrBlock="0.0.0.0/0", NatGatewayId=ids["nat"])
    ids["association"] = ec2.associate_route_table(RouteTableId=ids["table"], SubnetId=ids["subnet0"])[
        "AssociationId"
    ]


def make_ways_out(made: Made) -> None:
    ec2, ids = made.client("ec2"), made.ids
    ids["endpoint"] = ec2.create_vpc_endpoint(
        ClientToken="s3", PrivateDnsEnabled=False, ServiceName=S3_SERVICE, VpcEndpointType="Gateway",
        VpcId=ids["vpc"], RouteTableIds=[ids["table"]], TagSpecifications=tagged("vpc-endpoint"),
    )["VpcEndpoint"]["VpcEndpointId"]  # fmt: skip
    ids["group"] = ec2.create_security_group(
        GroupName="probe", Description="d", VpcId=ids["vpc"], TagSpecifications=tagged("security-group")
    )["GroupId"]
    for ranges in ({"IpRanges": [{"CidrIp": "0.0.0.0/0"}]}, {"Ipv6Ranges": [{"CidrIpv6": "::/0"}]}):
        everything = {"IpProtocol": "-1", "FromPort": 0, "ToPort": 0, **ranges}
        ec2.revoke_security_group_egress(GroupId=ids["group"], IpPermissions=[everything])
    ids["rule"] = ec2.authorize_security_group_ingress(
        GroupId=ids["group"],
        IpPermissions=[
            {"IpProtocol": "tcp", "FromPort": 443, "ToPort": 443, "IpRanges": [{"CidrIp": "10.0.0.0/16"}]}
        ],
        TagSpecifications=tagged("security-group-rule"),
    )["SecurityGroupRules"][0]["SecurityGroupRuleId"]
    interface = ec2.create_vpc_endpoint(
        ClientToken="ecr", PrivateDnsEnabled=True, ServiceName=ECR_SERVICE, VpcEndpointType="Interface",
        VpcId=ids["vpc"], SubnetIds=[ids["subnet0"], ids["subnet1"]], SecurityGroupIds=[ids["group"]],
    )["VpcEndpoint"]  # fmt: skip
    ids["interface"], ids["eni"] = interface["VpcEndpointId"], interface["NetworkInterfaceIds"][0]
    disk = {
        "DeleteOnTermination": True, "Encrypted": True, "Iops": 6000, "Throughput": 500, "VolumeSize": 200,
        "VolumeType": "gp3",
    }  # fmt: skip
    ids["template"] = ec2.create_launch_template(
        ClientToken="template",
        LaunchTemplateName="probe",
        VersionDescription="d",
        LaunchTemplateData={
            "BlockDeviceMappings": [{"DeviceName": "/dev/xvda", "Ebs": disk}],
            "MetadataOptions": {
                "HttpEndpoint": "enabled",
                "HttpTokens": "required",
                "HttpPutResponseHopLimit": 1,
            },
            "TagSpecifications": tagged("instance") + tagged("volume"),
        },
        TagSpecifications=tagged("launch-template"),
    )["LaunchTemplate"]["LaunchTemplateId"]


def make_identities_and_keys(made: Made) -> None:
    iam, kms, ids = made.client("iam"), made.client("kms"), made.ids
    ids["role"] = iam.create_role(
        RoleName="probe", Path="/", AssumeRolePolicyDocument=TRUST, Description="d",
        Tags=[{"Key": "Name", "Value": "probe"}],
    )["Role"]["Arn"]  # fmt: skip
    iam.put_role_policy(RoleName="probe", PolicyName="read", PolicyDocument=ALLOW)
    iam.attach_role_policy(RoleName="probe", PolicyArn="arn:aws:iam::aws:policy/AmazonEKSClusterPolicy")
    ids["oidc"] = iam.create_open_id_connect_provider(
        Url="https://token.actions.githubusercontent.com", ClientIDList=["sts.amazonaws.com"],
        Tags=[{"Key": "Name", "Value": "probe"}],
    )["OpenIDConnectProviderArn"]  # fmt: skip
    ids["key"] = kms.create_key(
        BypassPolicyLockoutSafetyCheck=False, KeySpec="SYMMETRIC_DEFAULT", KeyUsage="ENCRYPT_DECRYPT",
        Description="d", MultiRegion=False, Policy=ALLOW, Tags=[{"TagKey": "Name", "TagValue": "probe"}],
    )["KeyMetadata"]["Arn"]  # fmt: skip
    kms.enable_key_rotation(KeyId=ids["key"])
    kms.create_alias(AliasName="alias/probe", TargetKeyId=ids["key"].rpartition("/")[2])
    made.call(
        "logs", "create_log_group", logGroupName="/aws/eks/probe/cluster", kmsKeyId=ids["key"], tags=TAGS
    )
    made.call("logs", "put_retention_policy", logGroupName="/aws/eks/probe/cluster", retentionInDays=30)
    made.call(
        "secretsmanager", "create_secret", ClientRequestToken="0" * 32, Name="probe/hub-token", Description="d",
        KmsKeyId=ids["key"], ForceOverwriteReplicaSecret=False, Tags=[{"Key": "Name", "Value": "probe"}],
    )  # fmt: skip
    made.call(
        "ecr", "create_pull_through_cache_rule", ecrRepositoryPrefix="probe",
        upstreamRegistryUrl="public.ecr.aws",
    )  # fmt: skip


def make_storage(made: Made) -> None:
    s3 = made.client("s3")
    # since 6.23 with the tags in the request; us-east-1 has no LocationConstraint
    s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"Tags": [{"Key": "Name", "Value": "probe"}]})
    s3.put_bucket_ownership_controls(
        Bucket=BUCKET, OwnershipControls={"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}
    )
    s3.put_public_access_block(
        Bucket=BUCKET,
        PublicAccessBlockConfiguration={
            "BlockPublicAcls": True,
            "IgnorePublicAcls": True,
            "BlockPublicPolicy": True,
            "RestrictPublicBuckets": True,
        },
    )
    s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    sealed = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": made["key"]}
    s3.put_bucket_encryption(
        Bucket=BUCKET,
        ServerSideEncryptionConfiguration={
            "Rules": [{"ApplyServerSideEncryptionByDefault": sealed, "BucketKeyEnabled": True}]
        },
    )
    s3.put_bucket_lifecycle_configuration(
        Bucket=BUCKET,
        LifecycleConfiguration={
            "Rules": [
                {
                    "ID": "abort",
                    "Status": "Enabled",
                    "Filter": {"Prefix": ""},
                    "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 3},
                }
            ]
        },
        TransitionDefaultMinimumObjectSize="varies_by_storage_class",
    )
    s3.put_bucket_policy(Bucket=BUCKET, Policy=ALLOW)


def make_cluster(made: Made) -> None:
    eks, ids = made.client("eks"), made.ids
    on = ["api", "audit"]
    eks.create_cluster(
        name=CLUSTER,
        roleArn=ids["role"],
        version="1.33",
        bootstrapSelfManagedAddons=False,
        # sent always since Auto Mode, also where the configuration has no such block
        computeConfig={"enabled": False},
        storageConfig={"blockStorage": {"enabled": False}},
        kubernetesNetworkConfig={"elasticLoadBalancing": {"enabled": False}},
        encryptionConfig=[{"resources": ["secrets"], "provider": {"keyArn": ids["key"]}}],
        logging={
            "clusterLogging": [
                {"enabled": True, "types": on},
                {"enabled": False, "types": ["authenticator", "controllerManager", "scheduler"]},
            ]
        },
        resourcesVpcConfig={
            "endpointPrivateAccess": True,
            "endpointPublicAccess": True,
            "securityGroupIds": [],
            "subnetIds": [ids["subnet0"], ids["subnet1"]],
            "publicAccessCidrs": ["127.0.0.0/8"],
        },
        accessConfig={"authenticationMode": "API", "bootstrapClusterCreatorAdminPermissions": True},
        tags=TAGS,
    )
    eventually(lambda: eks.describe_cluster(name=CLUSTER)["cluster"]["status"] == "ACTIVE")
    eks.create_addon(
        clusterName=CLUSTER, addonName="vpc-cni", clientRequestToken="addon", resolveConflicts="OVERWRITE",
        configurationValues='{"enableNetworkPolicy":"true"}', tags=TAGS,
    )  # fmt: skip
    ids["pods"] = eks.create_pod_identity_association(
        clusterName=CLUSTER, namespace="kube-system", serviceAccount="aws-node", roleArn=ids["role"],
        clientRequestToken="pods", tags=TAGS,
    )["association"]["associationId"]  # fmt: skip
    admin = {"clusterName": CLUSTER, "principalArn": ids["role"]}
    eks.create_access_entry(**admin, type="STANDARD", clientRequestToken="entry", tags=TAGS)
    eks.associate_access_policy(**admin, policyArn=ADMIN, accessScope={"type": "cluster", "namespaces": []})
    eks.create_nodegroup(
        clusterName=CLUSTER, nodegroupName="gpu", nodeRole=ids["role"], subnets=[ids["subnet0"]],
        clientRequestToken="group", amiType="AL2023_x86_64_NVIDIA", instanceTypes=["g5.2xlarge"],
        capacityType="ON_DEMAND", labels={"workload": "gpu"}, version="1.33", tags=TAGS,
        launchTemplate={"id": ids["template"], "version": "1"},
        scalingConfig={"desiredSize": 0, "maxSize": 2, "minSize": 0}, updateConfig={"maxUnavailable": 1},
        taints=[{"key": "nvidia.com/gpu", "value": "true", "effect": "NO_SCHEDULE"}],
    )  # fmt: skip
    addon, group = {"addonName": "vpc-cni"}, {"nodegroupName": "gpu"}
    eventually(lambda: eks.describe_addon(clusterName=CLUSTER, **addon)["addon"]["status"] == "ACTIVE")
    eventually(
        lambda: eks.describe_nodegroup(clusterName=CLUSTER, **group)["nodegroup"]["status"] == "ACTIVE"
    )
