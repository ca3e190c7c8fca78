"""What the root modules make, seen through AWS's own API, and how they behave when run again."""

from __future__ import annotations

import base64
import email
import json
from typing import Any

import pytest
import yaml
from securesystemslib.exceptions import UnverifiedSignatureError

from tasks.evidence.envelope import KmsSigner, read_public_key
from tasks.infra.minimum import raise_to_minimum
from tests.support.builders import an_environment
from tests.support.clock import until
from tests.support.clouds import aws_over
from tests.support.roots import ADMIN, READER, Applied, copied, initialise
from tests.support.workloads import Quiet


@pytest.fixture(scope="session")
def group(applied: Applied) -> dict[str, Any]:
    shown: dict[str, Any] = applied.aws.client("eks").describe_nodegroup(
        clusterName="slipway-test", nodegroupName="gpu"
    )["nodegroup"]
    return shown


@pytest.fixture(scope="session")
def described(applied: Applied) -> dict[str, Any]:
    shown: dict[str, Any] = applied.aws.client("eks").describe_cluster(name="slipway-test")["cluster"]
    return shown


# ------------------------------------------------------------------ storage


def test_the_outputs_of_storage_are_those_the_product_reads(applied: Applied) -> None:
    outputs = applied.storage.outputs()
    assert outputs["bucket"] == "slipway-test-models-123456789012-us-east-1"
    assert outputs["bucket_arn"] == f"arn:aws:s3:::{outputs['bucket']}"
    assert ":key/" in outputs["kms_key_arn"]
    assert ":secret:slipway-test/hub-token" in outputs["hub_token_secret_arn"]


def test_the_bucket_is_private_versioned_and_encrypted_with_its_own_key(applied: Applied) -> None:
    s3, outputs = applied.aws.client("s3"), applied.storage.outputs()
    bucket = {"Bucket": outputs["bucket"]}
    assert s3.get_bucket_versioning(**bucket)["Status"] == "Enabled"
    assert all(s3.get_public_access_block(**bucket)["PublicAccessBlockConfiguration"].values())
    owner = s3.get_bucket_ownership_controls(**bucket)["OwnershipControls"]["Rules"]
    assert owner == [{"ObjectOwnership": "BucketOwnerEnforced"}]
    rule = s3.get_bucket_encryption(**bucket)["ServerSideEncryptionConfiguration"]["Rules"][0]
    assert rule["BucketKeyEnabled"] is True
    assert rule["ApplyServerSideEncryptionByDefault"] == {
        "SSEAlgorithm": "aws:kms",
        "KMSMasterKeyID": outputs["kms_key_arn"],
    }


def test_the_bucket_refuses_what_is_not_tls(applied: Applied) -> None:
    policy = applied.aws.client("s3").get_bucket_policy(Bucket=applied.storage.outputs()["bucket"])["Policy"]
    [statement] = [one for one in json.loads(policy)["Statement"] if one["Sid"] == "TLSOnly"]
    assert (statement["Effect"], statement["Condition"]) == (
        "Deny",
        {"Bool": {"aws:SecureTransport": "false"}},
    )


def test_those_who_promote_from_here_may_read_models_and_use_the_key(applied: Applied) -> None:
    outputs = applied.storage.outputs()
    bucket = applied.aws.client("s3").get_bucket_policy(Bucket=outputs["bucket"])["Policy"]
    key = applied.aws.client("kms").get_key_policy(KeyId=outputs["kms_key_arn"], PolicyName="default")[
        "Policy"
    ]
    for policy, action in ((bucket, "s3:GetObject"), (key, ["kms:GetPublicKey", "kms:Decrypt"])):
        [statement] = [one for one in json.loads(policy)["Statement"] if one["Sid"] == "PromotionReads"]
        assert (statement["Effect"], statement["Action"]) == ("Allow", action)
        assert statement["Principal"] == {"AWS": READER}


def test_incomplete_uploads_and_old_versions_end(applied: Applied) -> None:
    s3, name = applied.aws.client("s3"), applied.storage.outputs()["bucket"]
    rules = {rule["ID"]: rule for rule in s3.get_bucket_lifecycle_configuration(Bucket=name)["Rules"]}
    assert rules["abort-incomplete-uploads"]["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 3}
    assert rules["expire-noncurrent-versions"]["NoncurrentVersionExpiration"]["NoncurrentDays"] == 30


def test_the_evidence_key_signs_a_digest_so_that_its_public_half_verifies(applied: Applied) -> None:
    kms, key = applied.aws.client("kms"), applied.storage.outputs()["evidence_key_arn"]
    public = read_public_key(kms.get_public_key(KeyId=key)["PublicKey"])
    signature = KmsSigner(kms, key, public).sign(b"payload")
    public.verify_signature(signature, b"payload")
    with pytest.raises(UnverifiedSignatureError):
        public.verify_signature(signature, b"another")


def test_the_key_rotates(applied: Applied) -> None:
    kms, key = applied.aws.client("kms"), applied.storage.outputs()["kms_key_arn"]
    assert kms.get_key_rotation_status(KeyId=key)["KeyRotationEnabled"] is True


def test_the_hub_token_is_no_part_of_the_state(applied: Applied) -> None:
    secrets, arn = applied.aws.client("secretsmanager"), applied.storage.outputs()["hub_token_secret_arn"]
    secrets.put_secret_value(SecretId=arn, SecretString="hf_not_in_any_plan")
    applied.storage.plan(changes=False)
    assert "hf_not_in_any_plan" not in applied.storage.run("state", "pull").text


# ------------------------------------------------------------------ cluster


def test_the_outputs_of_cluster_are_those_the_product_reads(
    applied: Applied, described: dict[str, Any]
) -> None:
    outputs = applied.cluster.outputs()
    assert outputs["cluster_name"] == "slipway-test"
    assert outputs["cluster_endpoint"] == described["endpoint"]
    assert outputs["cluster_ca"] == described["certificateAuthority"]["data"]
    assert outputs["cluster_version"] == "1.34"
    assert (outputs["gpu_node_group"], outputs["system_node_group"]) == ("gpu", "system")
    assert (len(outputs["private_subnet_ids"]), outputs["zones"]) == (2, ["us-east-1a", "us-east-1b"])
    assert outputs["cache_role_arn"].endswith(":role/slipway-test-cache")


def test_the_cluster_is_entered_by_access_entries_and_encrypts_its_secrets(described: dict[str, Any]) -> None:
    assert described["accessConfig"]["authenticationMode"] == "API"
    assert described["encryptionConfig"][0]["resources"] == ["secrets"]
    assert described["resourcesVpcConfig"]["endpointPrivateAccess"] is True
    enabled = [
        kind
        for setup in described["logging"]["clusterLogging"]
        if setup["enabled"]
        for kind in setup["types"]
    ]
    assert sorted(enabled) == ["api", "audit", "authenticator", "controllerManager", "scheduler"]


def test_the_named_principal_administers_the_cluster(applied: Applied) -> None:
    policies = applied.aws.client("eks").list_associated_access_policies(
        clusterName="slipway-test", principalArn=ADMIN
    )["associatedAccessPolicies"]
    assert [p["policyArn"].split("/")[-1] for p in policies] == ["AmazonEKSClusterAdminPolicy"]


def test_the_cni_enforces_network_policies(applied: Applied) -> None:
    addon = applied.aws.client("eks").describe_addon(clusterName="slipway-test", addonName="vpc-cni")["addon"]
    assert json.loads(addon["configurationValues"]) == {"enableNetworkPolicy": "true"}


def test_every_addon_the_lifecycle_needs_is_active(applied: Applied) -> None:
    eks = applied.aws.client("eks")
    names = eks.list_addons(clusterName="slipway-test")["addons"]
    assert set(names) == {
        "aws-ebs-csi-driver",
        "coredns",
        "eks-pod-identity-agent",
        "kube-proxy",
        "snapshot-controller",
        "vpc-cni",
    }
    states = {eks.describe_addon(clusterName="slipway-test", addonName=n)["addon"]["status"] for n in names}
    assert states == {"ACTIVE"}


def test_pods_get_roles_by_pod_identity_and_those_that_serve_get_none(applied: Applied) -> None:
    associations = applied.aws.client("eks").list_pod_identity_associations(clusterName="slipway-test")[
        "associations"
    ]
    assert {(a["namespace"], a["serviceAccount"]) for a in associations} == {
        ("llm", "model-cache"),
        ("kube-system", "ebs-csi-controller-sa"),
        ("kube-system", "aws-node"),
    }


def test_pods_that_warm_caches_read_the_model_bucket_and_nothing_else(applied: Applied) -> None:
    document = applied.aws.client("iam").get_role_policy(
        RoleName="slipway-test-cache", PolicyName="read-models"
    )
    statements = {s["Sid"]: s for s in document["PolicyDocument"]["Statement"]}
    bucket = applied.storage.outputs()["bucket_arn"]
    assert {sid: s["Action"] for sid, s in statements.items()} == {
        "List": "s3:ListBucket",
        "Read": "s3:GetObject",
        "Decrypt": "kms:Decrypt",
    }
    assert statements["Read"]["Resource"] == f"{bucket}/*"
    assert statements["List"]["Resource"] == bucket
    assert statements["Decrypt"]["Resource"] == applied.storage.outputs()["kms_key_arn"]


def test_the_nodes_role_does_not_carry_the_cnis_rights(applied: Applied) -> None:
    attached = applied.aws.client("iam").list_attached_role_policies(RoleName="slipway-test-node")
    assert {p["PolicyName"] for p in attached["AttachedPolicies"]} == {
        "AmazonEKSWorkerNodePolicy",
        "AmazonEC2ContainerRegistryPullOnly",
        "AmazonSSMManagedInstanceCore",
    }


def test_gpu_nodes_are_labelled_and_tainted(group: dict[str, Any]) -> None:
    assert group["amiType"] == "AL2023_x86_64_NVIDIA"
    assert group["labels"]["workload"] == "inference-gpu"
    assert group["taints"] == [{"key": "nvidia.com/gpu", "value": "true", "effect": "NO_SCHEDULE"}]
    assert group["scalingConfig"]["minSize"] == 0


def test_gpu_nodes_have_a_fast_encrypted_disk_and_imdsv2(applied: Applied, group: dict[str, Any]) -> None:
    template = applied.aws.client("ec2").describe_launch_template_versions(
        LaunchTemplateId=group["launchTemplate"]["id"], Versions=[group["launchTemplate"]["version"]]
    )["LaunchTemplateVersions"][0]["LaunchTemplateData"]
    ebs = template["BlockDeviceMappings"][0]["Ebs"]
    assert (ebs["VolumeType"], int(ebs["Iops"]), int(ebs["Throughput"])) == ("gp3", 6000, 600)
    assert str(ebs["Encrypted"]).lower() == "true"
    assert template["MetadataOptions"]["HttpTokens"] == "required"
    assert int(template["MetadataOptions"]["HttpPutResponseHopLimit"]) == 1


def test_gpu_nodes_pull_in_parallel_and_take_no_traffic_of_load_balancers(
    applied: Applied, group: dict[str, Any]
) -> None:
    template = applied.aws.client("ec2").describe_launch_template_versions(
        LaunchTemplateId=group["launchTemplate"]["id"], Versions=[group["launchTemplate"]["version"]]
    )["LaunchTemplateVersions"][0]["LaunchTemplateData"]
    message = email.message_from_string(base64.b64decode(template["UserData"]).decode())
    [part] = [one for one in message.walk() if one.get_content_type() == "application/node.eks.aws"]
    spec = yaml.safe_load(str(part.get_payload()))["spec"]
    assert spec["featureGates"] == {"FastImagePull": True}
    assert spec["kubelet"]["flags"] == [
        "--node-labels=node.kubernetes.io/exclude-from-external-load-balancers=true"
    ]


def test_the_default_security_group_is_empty(applied: Applied) -> None:
    wanted = [
        {"Name": "vpc-id", "Values": [applied.cluster.outputs()["vpc_id"]]},
        {"Name": "group-name", "Values": ["default"]},
    ]
    [group] = applied.aws.client("ec2").describe_security_groups(Filters=wanted)["SecurityGroups"]
    assert (group["IpPermissions"], group["IpPermissionsEgress"]) == ([], [])


def test_refused_connections_are_recorded(applied: Applied) -> None:
    wanted = [{"Name": "resource-id", "Values": [applied.cluster.outputs()["vpc_id"]]}]
    [log] = applied.aws.client("ec2").describe_flow_logs(Filters=wanted)["FlowLogs"]
    assert log["TrafficType"] == "REJECT"
    assert log["DeliverLogsPermissionArn"].endswith(":role/slipway-test-flow-logs")
    assert ":log-group:/aws/vpc/slipway-test/flow" in log["LogDestination"]


def test_the_public_endpoint_needs_networks(applied: Applied) -> None:
    refused = applied.cluster.run(
        "plan",
        "-no-color",
        "-input=false",
        code=1,
        endpoint_public_access=True,
        endpoint_public_access_cidrs=[],
    )
    assert "endpoint_public_access needs endpoint_public_access_cidrs" in refused.text


def test_access_logs_go_where_the_settings_say(applied: Applied) -> None:
    s3, bucket = applied.aws.client("s3"), applied.storage.outputs()["bucket"]
    assert "LoggingEnabled" not in s3.get_bucket_logging(Bucket=bucket)
    applied.storage.apply(access_log_bucket="our-logs")
    target = s3.get_bucket_logging(Bucket=bucket)["LoggingEnabled"]
    assert (target["TargetBucket"], target["TargetPrefix"]) == ("our-logs", f"{bucket}/")
    applied.storage.apply()
    assert "LoggingEnabled" not in s3.get_bucket_logging(Bucket=bucket)


def test_nodes_may_make_repositories_where_an_image_cache_is_used(applied: Applied) -> None:
    planned = applied.cluster.planned(image_cache_prefix="slipway")
    assert planned == {"aws_iam_role_policy.image_cache[0]": "create"}


def test_private_subnets_leave_by_a_nat_gateway_of_their_own_zone(applied: Applied) -> None:
    ec2 = applied.aws.client("ec2")
    gateways = set()
    for subnet in applied.cluster.outputs()["private_subnet_ids"]:
        wanted = [{"Name": "association.subnet-id", "Values": [subnet]}]
        [table] = ec2.describe_route_tables(Filters=wanted)["RouteTables"]
        [route] = [r for r in table["Routes"] if r.get("DestinationCidrBlock") == "0.0.0.0/0"]
        gateways.add(route["NatGatewayId"])
    assert len(gateways) == 2


def test_aws_is_reached_inside_the_vpc(applied: Applied) -> None:
    wanted = [{"Name": "vpc-id", "Values": [applied.cluster.outputs()["vpc_id"]]}]
    endpoints = applied.aws.client("ec2").describe_vpc_endpoints(Filters=wanted)["VpcEndpoints"]
    assert {e["ServiceName"].removeprefix("com.amazonaws.us-east-1.") for e in endpoints} == {
        "s3",
        "ecr.api",
        "ecr.dkr",
        "sts",
        "ec2",
        "logs",
        "eks-auth",
    }


# ------------------------------------------------------------------ run again


def test_a_second_plan_shows_no_changes(applied: Applied) -> None:
    applied.cluster.plan(changes=False)


def test_the_scalers_number_is_left_alone(applied: Applied) -> None:
    eks = applied.aws.client("eks")
    sizes = {"minSize": 0, "desiredSize": 3, "maxSize": 4}
    eks.update_nodegroup_config(clusterName="slipway-test", nodegroupName="gpu", scalingConfig=sizes)
    applied.cluster.plan(changes=False)


def test_a_raised_minimum_of_a_group_at_zero_can_be_applied(applied: Applied) -> None:
    eks, group = applied.aws.client("eks"), {"clusterName": "slipway-test", "nodegroupName": "gpu"}
    zero = {"minSize": 0, "desiredSize": 0, "maxSize": 4}
    eks.update_nodegroup_config(**group, scalingConfig=zero)
    environment = an_environment(cluster={"name": "slipway-test", "gpu": {"min": 1, "max": 4}})
    aws = aws_over(applied.aws)
    until(lambda: eks.describe_nodegroup(**group)["nodegroup"]["status"] == "ACTIVE")
    assert raise_to_minimum(environment, aws, Quiet()) is True
    assert raise_to_minimum(environment, aws, Quiet()) is False
    applied.cluster.apply(gpu_min_size=1)
    sizes = eks.describe_nodegroup(**group)["nodegroup"]["scalingConfig"]
    assert (sizes["minSize"], sizes["desiredSize"]) == (1, 1)
    applied.cluster.apply()


def test_other_instance_types_replace_the_gpu_nodes_and_nothing_else(applied: Applied) -> None:
    planned = applied.cluster.planned(gpu_instance_types=["g6.12xlarge"])
    assert planned == {"aws_eks_node_group.gpu[0]": "replace"}


def test_changes_in_place_are_applied_and_leave_nothing_to_do(applied: Applied) -> None:
    changes: dict[str, Any] = {
        "kubernetes_version": "1.35",
        "gpu_volume_gib": 300,
        "gpu_taint": {"key": "nvidia.com/gpu", "value": "true", "effect": "NO_EXECUTE"},
        "endpoint_public_access": True,
        "endpoint_public_access_cidrs": ["203.0.113.0/24"],
        "flow_logs": "OFF",
    }
    planned = applied.cluster.planned(**changes)
    flow_logs = {address for address, action in planned.items() if action == "delete"}
    assert {address.split(".")[0] for address in flow_logs} == {
        "aws_cloudwatch_log_group",
        "aws_flow_log",
        "aws_iam_role",
        "aws_iam_role_policy",
    }
    assert {action for address, action in planned.items() if address not in flow_logs} == {"update"}
    applied.cluster.run("apply", "-no-color", "planned", **changes)
    applied.cluster.plan(changes=False, **changes)
    eks = applied.aws.client("eks")
    now = eks.describe_nodegroup(clusterName="slipway-test", nodegroupName="gpu")["nodegroup"]
    assert (now["version"], now["taints"][0]["effect"]) == ("1.35", "NO_EXECUTE")
    applied.cluster.variables |= changes  # a control plane does not go back


def test_a_cluster_whose_state_was_lost_is_adopted(applied: Applied) -> None:
    addresses = {
        "aws_eks_cluster.this[0]": "slipway-test",
        "aws_eks_node_group.gpu[0]": "slipway-test:gpu",
        'aws_eks_addon.before_nodes["vpc-cni"]': "slipway-test:vpc-cni",
        'aws_iam_role.model["cache"]': "slipway-test-cache",
    }
    applied.cluster.run("state", "rm", *addresses)
    blocks = applied.cluster.folder / "adopt.tf"
    blocks.write_text("".join(f'import {{\n  to = {a}\n  id = "{i}"\n}}\n' for a, i in addresses.items()))
    text = applied.cluster.apply().text
    blocks.unlink()
    assert "4 imported, 0 added" in text
    assert "0 destroyed" in text
    applied.cluster.plan(changes=False)


def test_a_second_environment_stands_beside_the_first(
    applied: Applied, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("second") / "storage"
    cache = {"prefix": "ecr-public", "upstream": "public.ecr.aws"}
    variables = {"name": "slipway-other", "environment": "other", "image_cache": cache}
    other = copied("storage", folder, applied.aws.variables(), applied.storage.variables | variables)
    initialise(other, "other.tfstate")
    planned = other.planned()
    assert set(planned.values()) == {"create"}
    assert "aws_ecr_pull_through_cache_rule.images[0]" in planned
