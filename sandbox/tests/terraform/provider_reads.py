"""hashicorp/aws's reads of every type in infra/terraform, and what each must find: see test_real_provider_calls.py."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from slipway_sandbox.settings import ACCOUNT_ID
from tests.terraform.provider_creates import (
    ADMIN,
    ALLOW,
    BUCKET,
    CLUSTER,
    S3_SERVICE,
    TAGS,
    TRUST,
    Parameters,
    tagged,
)


@dataclass(frozen=True)
class Read:
    """One call of a type's read or waiter. `holds`: path in the answer -> the value the provider must find there
    (`...`: any but none). `parameters` may name an id of `Made` as "{vpc}".
    """

    type: str
    service: str
    operation: str
    parameters: Parameters
    holds: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.type}-{self.operation}"


def where(**filters: str) -> list[Parameters]:
    return [{"Name": name.replace("_", "-"), "Values": [value]} for name, value in filters.items()]


NETWORK = [
    Read("data.aws_caller_identity", "sts", "get_caller_identity", {}, {"Account": ACCOUNT_ID, "Arn": ..., "UserId": ...}),
    Read(
        "data.aws_availability_zones", "ec2", "describe_availability_zones",
        {"Filters": where(state="available", opt_in_status="opt-in-not-required")},
        {"AvailabilityZones.0.ZoneName": "us-east-1a", "AvailabilityZones.0.ZoneId": ...,
         "AvailabilityZones.0.GroupName": ..., "AvailabilityZones.0.OptInStatus": "opt-in-not-required"},
    ),
    Read(
        "aws_vpc", "ec2", "describe_vpcs", {"VpcIds": ["{vpc}"]},
        {"Vpcs.0.State": "available", "Vpcs.0.OwnerId": ACCOUNT_ID, "Vpcs.0.DhcpOptionsId": ...,
         "Vpcs.0.InstanceTenancy": "default", "Vpcs.0.CidrBlock": "10.0.0.0/16"},
    ),
    *(
        Read("aws_vpc", "ec2", "describe_vpc_attribute", {"VpcId": "{vpc}", "Attribute": name}, {f"{name[0].upper()}{name[1:]}.Value": value})
        for name, value in {
            "enableDnsHostnames": True, "enableDnsSupport": True, "enableNetworkAddressUsageMetrics": False,
        }.items()
    ),
    Read("aws_vpc", "ec2", "describe_network_acls", {"Filters": [*where(default="true"), *where(vpc_id="{vpc}")]}, {"NetworkAcls.0.NetworkAclId": ...}),
    Read(
        "aws_vpc", "ec2", "describe_route_tables",
        {"Filters": [{"Name": "association.main", "Values": ["true"]}, *where(vpc_id="{vpc}")]}, {"RouteTables.0.RouteTableId": ...},
    ),
    Read("aws_vpc", "ec2", "describe_security_groups", {"Filters": where(group_name="default", vpc_id="{vpc}")}, {"SecurityGroups.0.GroupId": ...}),
    Read(
        "aws_subnet", "ec2", "describe_subnets", {"SubnetIds": ["{subnet0}"]},
        {"Subnets.0.State": "available", "Subnets.0.SubnetArn": ..., "Subnets.0.AvailabilityZone": "us-east-1a",
         "Subnets.0.MapPublicIpOnLaunch": False, "Subnets.0.AssignIpv6AddressOnCreation": False,
         # compared without asking whether it is there
         "Subnets.0.PrivateDnsNameOptionsOnLaunch.HostnameType": "ip-name",
         "Subnets.0.PrivateDnsNameOptionsOnLaunch.EnableResourceNameDnsARecord": False,
         "Subnets.0.PrivateDnsNameOptionsOnLaunch.EnableResourceNameDnsAAAARecord": False},
    ),
    Read(
        "aws_internet_gateway", "ec2", "describe_internet_gateways", {"InternetGatewayIds": ["{gateway}"]},
        {"InternetGateways.0.OwnerId": ACCOUNT_ID, "InternetGateways.0.Attachments.0.State": "available"},
    ),
    Read("aws_eip", "ec2", "describe_addresses", {"AllocationIds": ["{address}"]}, {"Addresses.0.Domain": "vpc", "Addresses.0.AssociationId": ..., "Addresses.0.PublicIp": ...}),
    Read(
        "aws_eip", "ec2", "describe_addresses_attribute", {"AllocationIds": ["{address}"], "Attribute": "domain-name"},
        {"Addresses.0.AllocationId": "{address}"},
    ),
    Read(
        "aws_nat_gateway", "ec2", "describe_nat_gateways", {"NatGatewayIds": ["{nat}"]},
        # since 6.24 subnet and allocation are read of a zonal one only: without this the next plan replaces it
        {"NatGateways.0.State": "available", "NatGateways.0.AvailabilityMode": "zonal", "NatGateways.0.SubnetId": "{subnet0}",
         "NatGateways.0.ConnectivityType": "public", "NatGateways.0.NatGatewayAddresses.0.IsPrimary": True,
         "NatGateways.0.NatGatewayAddresses.0.AllocationId": "{address}", "NatGateways.0.NatGatewayAddresses.0.NetworkInterfaceId": ...},
    ),
    Read(
        "aws_route_table", "ec2", "describe_route_tables", {"RouteTableIds": ["{table}"]},
        {"RouteTables.0.OwnerId": ACCOUNT_ID, "RouteTables.0.VpcId": "{vpc}", "RouteTables.0.Routes.0.GatewayId": "local",
         "RouteTables.0.Routes.1.DestinationCidrBlock": "0.0.0.0/0", "RouteTables.0.Routes.1.NatGatewayId": "{nat}",
         "RouteTables.0.Routes.1.State": "active", "RouteTables.0.Routes.1.Origin": "CreateRoute",
         # the endpoint's own route is told apart by its target
         "RouteTables.0.Routes.2.DestinationPrefixListId": ..., "RouteTables.0.Routes.2.GatewayId": "{endpoint}"},
    ),
    Read(
        "aws_route_table_association", "ec2", "describe_route_tables",
        {"Filters": [{"Name": "association.route-table-association-id", "Values": ["{association}"]}]},
        {"RouteTables.0.Associations.0.AssociationState.State": "associated", "RouteTables.0.Associations.0.SubnetId": "{subnet0}"},
    ),
    Read(
        "aws_vpc_endpoint", "ec2", "describe_vpc_endpoints", {"VpcEndpointIds": ["{endpoint}"]},
        {"VpcEndpoints.0.State": "available", "VpcEndpoints.0.VpcEndpointType": "Gateway", "VpcEndpoints.0.PolicyDocument": ...,
         "VpcEndpoints.0.RouteTableIds": ["{table}"], "VpcEndpoints.0.ServiceName": S3_SERVICE, "VpcEndpoints.0.OwnerId": ACCOUNT_ID},
    ),
    Read("aws_vpc_endpoint", "ec2", "describe_prefix_lists", {"Filters": where(prefix_list_name=S3_SERVICE)}, {"PrefixLists.0.PrefixListId": ...}),
    Read(
        "aws_vpc_endpoint", "ec2", "describe_vpc_endpoints", {"VpcEndpointIds": ["{interface}"]},
        {"VpcEndpoints.0.State": "available", "VpcEndpoints.0.PrivateDnsEnabled": True, "VpcEndpoints.0.Groups.0.GroupId": "{group}",
         "VpcEndpoints.0.SubnetIds": ["{subnet0}", "{subnet1}"], "VpcEndpoints.0.DnsEntries.0.DnsName": ...},
    ),
    # subnet_configuration is read from the endpoint's interfaces, and one that is not found is an error
    Read("aws_vpc_endpoint", "ec2", "describe_network_interfaces", {"NetworkInterfaceIds": ["{eni}"]}, {"NetworkInterfaces.0.PrivateIpAddress": ..., "NetworkInterfaces.0.SubnetId": ...}),
    Read(
        "aws_security_group", "ec2", "describe_security_groups", {"GroupIds": ["{group}"]},
        {"SecurityGroups.0.OwnerId": ACCOUNT_ID, "SecurityGroups.0.IpPermissionsEgress": [], "SecurityGroups.0.Description": "d"},
    ),
    Read("aws_security_group", "ec2", "describe_network_interfaces", {"Filters": where(group_id="{group}")}),
    Read(
        "aws_vpc_security_group_ingress_rule", "ec2", "describe_security_group_rules", {"SecurityGroupRuleIds": ["{rule}"]},
        {"SecurityGroupRules.0.CidrIpv4": "10.0.0.0/16", "SecurityGroupRules.0.IsEgress": False, "SecurityGroupRules.0.GroupId": "{group}"},
    ),
    Read("aws_launch_template", "ec2", "describe_launch_templates", {"LaunchTemplateIds": ["{template}"]}, {"LaunchTemplates.0.LatestVersionNumber": 1, "LaunchTemplates.0.DefaultVersionNumber": 1}),
    Read(
        "aws_launch_template", "ec2", "describe_launch_template_versions", {"LaunchTemplateId": "{template}", "Versions": ["1"]},
        {"LaunchTemplateVersions.0.VersionDescription": "d", "LaunchTemplateVersions.0.VersionNumber": 1,
         "LaunchTemplateVersions.0.LaunchTemplateData.MetadataOptions.HttpTokens": "required",
         "LaunchTemplateVersions.0.LaunchTemplateData.BlockDeviceMappings.0.Ebs.Throughput": 500,
         # the template's own tags are no part of its data: they would be a change in every plan
         "LaunchTemplateVersions.0.LaunchTemplateData.TagSpecifications": tagged("instance") + tagged("volume")},
    ),
]  # fmt: skip

ACCOUNT = [
    Read("aws_iam_role", "iam", "get_role", {"RoleName": "probe"}, {"Role.AssumeRolePolicyDocument": json.loads(TRUST), "Role.RoleId": ..., "Role.CreateDate": ..., "Role.MaxSessionDuration": 3600, "Role.Path": "/", "Role.Tags": [{"Key": "Name", "Value": "probe"}]}),
    Read("aws_iam_role", "iam", "list_role_policies", {"RoleName": "probe"}, {"PolicyNames": ["read"], "IsTruncated": False}),
    Read("aws_iam_role", "iam", "list_attached_role_policies", {"RoleName": "probe"}, {"AttachedPolicies.0.PolicyName": "AmazonEKSClusterPolicy"}),
    Read("aws_iam_role", "iam", "list_instance_profiles_for_role", {"RoleName": "probe"}, {"InstanceProfiles": []}),
    Read("aws_iam_openid_connect_provider", "iam", "get_open_id_connect_provider", {"OpenIDConnectProviderArn": "{oidc}"}, {"Url": ..., "ClientIDList": ["sts.amazonaws.com"], "Tags": [{"Key": "Name", "Value": "probe"}]}),
    Read("aws_iam_role_policy", "iam", "get_role_policy", {"RoleName": "probe", "PolicyName": "read"}, {"PolicyDocument": json.loads(ALLOW)}),
    Read("aws_kms_key", "kms", "describe_key", {"KeyId": "{key}"}, {"KeyMetadata.KeyState": "Enabled", "KeyMetadata.MultiRegion": False, "KeyMetadata.CustomerMasterKeySpec": "SYMMETRIC_DEFAULT", "KeyMetadata.Enabled": True, "KeyMetadata.Description": "d"}),
    Read("aws_kms_key", "kms", "get_key_policy", {"KeyId": "{key}", "PolicyName": "default"}, {"Policy": ALLOW}),
    Read("aws_kms_key", "kms", "get_key_rotation_status", {"KeyId": "{key}"}, {"KeyRotationEnabled": True}),
    Read("aws_kms_key", "kms", "list_resource_tags", {"KeyId": "{key}"}, {"Tags": [{"TagKey": "Name", "TagValue": "probe"}], "Truncated": False}),
    Read("aws_kms_alias", "kms", "list_aliases", {}, {"Aliases.0.AliasName": "alias/probe", "Aliases.0.TargetKeyId": ...}),
    Read("aws_cloudwatch_log_group", "logs", "describe_log_groups", {"logGroupNamePrefix": "/aws/eks/probe/cluster"}, {"logGroups.0.arn": f"arn:aws:logs:us-east-1:{ACCOUNT_ID}:log-group:/aws/eks/probe/cluster:*", "logGroups.0.retentionInDays": 30, "logGroups.0.kmsKeyId": "{key}"}),
    Read("aws_cloudwatch_log_group", "logs", "list_tags_for_resource", {"resourceArn": f"arn:aws:logs:us-east-1:{ACCOUNT_ID}:log-group:/aws/eks/probe/cluster"}, {"tags": TAGS}),
    Read("aws_secretsmanager_secret", "secretsmanager", "describe_secret", {"SecretId": "probe/hub-token"}, {"KmsKeyId": "{key}", "Description": "d", "ARN": ..., "Tags": [{"Key": "Name", "Value": "probe"}]}),
    Read("aws_secretsmanager_secret", "secretsmanager", "get_resource_policy", {"SecretId": "probe/hub-token"}),
    Read("aws_ecr_pull_through_cache_rule", "ecr", "describe_pull_through_cache_rules", {"ecrRepositoryPrefixes": ["probe"]}, {"pullThroughCacheRules.0.registryId": ACCOUNT_ID}),
    Read("aws_s3_bucket", "s3", "head_bucket", {"Bucket": BUCKET}, {"BucketRegion": "us-east-1"}),
    Read("aws_s3_bucket", "s3", "get_bucket_acl", {"Bucket": BUCKET}, {"Grants.0.Permission": "FULL_CONTROL", "Owner.ID": ...}),
    Read("aws_s3_bucket", "s3", "get_bucket_request_payment", {"Bucket": BUCKET}, {"Payer": "BucketOwner"}),
    Read("aws_s3_bucket", "s3", "get_bucket_accelerate_configuration", {"Bucket": BUCKET}),
    Read("aws_s3_bucket", "s3", "get_bucket_logging", {"Bucket": BUCKET}),
    # since 6.23 the tags come from S3 Control; S3's own are asked only where that is denied
    Read("aws_s3_bucket", "s3control", "list_tags_for_resource", {"AccountId": ACCOUNT_ID, "ResourceArn": f"arn:aws:s3:::{BUCKET}"}, {"Tags": [{"Key": "Name", "Value": "probe"}]}),
    Read("aws_s3_bucket", "s3", "get_bucket_tagging", {"Bucket": BUCKET}, {"TagSet": [{"Key": "Name", "Value": "probe"}]}),
    Read("aws_s3_bucket_versioning", "s3", "get_bucket_versioning", {"Bucket": BUCKET}, {"Status": "Enabled"}),
    Read("aws_s3_bucket_ownership_controls", "s3", "get_bucket_ownership_controls", {"Bucket": BUCKET}, {"OwnershipControls.Rules.0.ObjectOwnership": "BucketOwnerEnforced"}),
    Read("aws_s3_bucket_public_access_block", "s3", "get_public_access_block", {"Bucket": BUCKET}, {"PublicAccessBlockConfiguration.BlockPublicPolicy": True}),
    Read("aws_s3_bucket_server_side_encryption_configuration", "s3", "get_bucket_encryption", {"Bucket": BUCKET}, {"ServerSideEncryptionConfiguration.Rules.0.BucketKeyEnabled": True, "ServerSideEncryptionConfiguration.Rules.0.ApplyServerSideEncryptionByDefault.KMSMasterKeyID": "{key}"}),
    # the waiter after the put compares rules and this header's value with what was sent
    Read("aws_s3_bucket_lifecycle_configuration", "s3", "get_bucket_lifecycle_configuration", {"Bucket": BUCKET}, {"Rules.0.Filter.Prefix": "", "Rules.0.AbortIncompleteMultipartUpload.DaysAfterInitiation": 3, "TransitionDefaultMinimumObjectSize": "varies_by_storage_class"}),
    Read("aws_s3_bucket_policy", "s3", "get_bucket_policy", {"Bucket": BUCKET}, {"Policy": ALLOW}),
]  # fmt: skip

EKS = [
    Read(
        "aws_eks_cluster", "eks", "describe_cluster", {"name": CLUSTER},
        {"cluster.arn": ..., "cluster.createdAt": ..., "cluster.endpoint": ..., "cluster.certificateAuthority.data": ...,
         "cluster.identity.oidc.issuer": ..., "cluster.platformVersion": ..., "cluster.status": "ACTIVE", "cluster.version": "1.33",
         "cluster.accessConfig.authenticationMode": "API", "cluster.upgradePolicy.supportType": ..., "cluster.deletionProtection": False,
         "cluster.computeConfig.enabled": False, "cluster.storageConfig.blockStorage.enabled": False,
         "cluster.kubernetesNetworkConfig.elasticLoadBalancing.enabled": False, "cluster.kubernetesNetworkConfig.ipFamily": "ipv4",
         "cluster.controlPlaneScalingConfig.tier": "standard",
         "cluster.encryptionConfig.0.provider.keyArn": "{key}", "cluster.logging.clusterLogging.0.types": ["api", "audit"],
         "cluster.resourcesVpcConfig.vpcId": "{vpc}", "cluster.resourcesVpcConfig.clusterSecurityGroupId": ..., "cluster.tags": TAGS},
    ),
    Read(
        "aws_eks_addon", "eks", "describe_addon", {"clusterName": CLUSTER, "addonName": "vpc-cni"},
        {"addon.status": "ACTIVE", "addon.addonArn": ..., "addon.addonVersion": ..., "addon.createdAt": ..., "addon.modifiedAt": ...,
         "addon.configurationValues": '{"enableNetworkPolicy":"true"}', "addon.tags": TAGS},
    ),
    Read(
        "aws_eks_node_group", "eks", "describe_nodegroup", {"clusterName": CLUSTER, "nodegroupName": "gpu"},
        {"nodegroup.status": "ACTIVE", "nodegroup.amiType": "AL2023_x86_64_NVIDIA", "nodegroup.capacityType": "ON_DEMAND",
         "nodegroup.instanceTypes": ["g5.2xlarge"], "nodegroup.releaseVersion": ..., "nodegroup.version": "1.33",
         "nodegroup.resources.autoScalingGroups.0.name": ..., "nodegroup.scalingConfig.minSize": 0, "nodegroup.scalingConfig.desiredSize": 0,
         "nodegroup.updateConfig.maxUnavailable": 1, "nodegroup.launchTemplate.id": "{template}", "nodegroup.launchTemplate.name": "probe",
         "nodegroup.launchTemplate.version": "1", "nodegroup.health.issues": [], "nodegroup.tags": TAGS,
         "nodegroup.taints.0.effect": "NO_SCHEDULE"},
    ),
    Read(
        "aws_eks_pod_identity_association", "eks", "describe_pod_identity_association", {"clusterName": CLUSTER, "associationId": "{pods}"},
        {"association.associationArn": ..., "association.roleArn": "{role}", "association.disableSessionTags": False, "association.tags": TAGS},
    ),
    Read(
        "aws_eks_access_entry", "eks", "describe_access_entry", {"clusterName": CLUSTER, "principalArn": "{role}"},
        {"accessEntry.accessEntryArn": ..., "accessEntry.createdAt": ..., "accessEntry.modifiedAt": ..., "accessEntry.type": "STANDARD", "accessEntry.username": ...},
    ),
    Read(
        "aws_eks_access_policy_association", "eks", "list_associated_access_policies", {"clusterName": CLUSTER, "principalArn": "{role}"},
        {"associatedAccessPolicies.0.policyArn": ADMIN, "associatedAccessPolicies.0.accessScope.type": "cluster", "associatedAccessPolicies.0.associatedAt": ...},
    ),
]  # fmt: skip
