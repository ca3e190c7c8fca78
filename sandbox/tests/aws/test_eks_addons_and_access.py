from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.aws.conftest import Aws, until

ADMIN = "arn:aws:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy"


@pytest.fixture
def fresh(make_cluster: Callable[..., str]) -> str:
    return make_cluster()


@pytest.fixture
def user(aws: Aws) -> str:
    made = aws.client("iam").create_user(UserName=f"u-{uuid.uuid4().hex[:8]}")
    return str(made["User"]["Arn"])


def test_an_addon_is_creating_and_then_active_at_the_default_version(eks: Any, fresh: str) -> None:
    made = eks.create_addon(clusterName=fresh, addonName="vpc-cni")["addon"]
    assert made["status"] == "CREATING"
    until(lambda: eks.describe_addon(clusterName=fresh, addonName="vpc-cni")["addon"]["status"] == "ACTIVE")
    assert eks.list_addons(clusterName=fresh)["addons"] == ["vpc-cni"]


@pytest.mark.parametrize("name", ["coredns", "aws-ebs-csi-driver", "snapshot-controller"])
def test_an_addon_of_deployments_is_degraded_until_there_are_nodes_for_it(
    eks: Any, fresh: str, role: str, subnets: list[str], name: str
) -> None:
    def shown() -> Any:
        return eks.describe_addon(clusterName=fresh, addonName=name)["addon"]

    eks.create_addon(clusterName=fresh, addonName=name)
    until(lambda: shown()["status"] == "DEGRADED")
    (issue,) = shown()["health"]["issues"]
    assert issue["code"] == "InsufficientNumberOfReplicas"
    sizes = {"minSize": 0, "maxSize": 1, "desiredSize": 1}
    group = {"clusterName": fresh, "nodeRole": role, "subnets": subnets, "scalingConfig": sizes}
    repelling = [{"key": "nvidia.com/gpu", "effect": "NO_SCHEDULE"}]
    eks.create_nodegroup(**group, nodegroupName="gpu", taints=repelling)
    assert shown()["status"] == "DEGRADED"
    eks.create_nodegroup(**group, nodegroupName="system")
    assert (shown()["status"], shown()["health"]["issues"]) == ("ACTIVE", [])
    until(
        lambda: (
            eks.describe_nodegroup(clusterName=fresh, nodegroupName="system")["nodegroup"]["status"]
            == "ACTIVE"
        )
    )
    none = {"desiredSize": 0}
    eks.update_nodegroup_config(clusterName=fresh, nodegroupName="system", scalingConfig=none)
    assert shown()["status"] == "DEGRADED"


def test_an_unknown_addon_is_refused(eks: Any, cluster: str) -> None:
    with pytest.raises(eks.exceptions.InvalidParameterException, match="is not supported"):
        eks.create_addon(clusterName=cluster, addonName="corednz")


def test_an_unknown_addon_version_is_refused(eks: Any, cluster: str) -> None:
    with pytest.raises(eks.exceptions.InvalidParameterException, match="version specified is not supported"):
        eks.create_addon(clusterName=cluster, addonName="coredns", addonVersion="v0.0.1-eksbuild.1")


def test_kube_proxy_follows_the_clusters_kubernetes_version(eks: Any, cluster: str) -> None:
    with pytest.raises(ClientError, match="version specified is not supported"):
        eks.create_addon(clusterName=cluster, addonName="kube-proxy", addonVersion="v1.31.13-eksbuild.2")


@pytest.mark.parametrize("values", ["{broken", '"text"', '{"unknown": 1}', '{"enableNetworkPolicy": true}'])
def test_configuration_values_that_break_the_schema_are_refused(eks: Any, cluster: str, values: str) -> None:
    with pytest.raises(eks.exceptions.InvalidParameterException, match="ConfigurationValue"):
        eks.create_addon(clusterName=cluster, addonName="vpc-cni", configurationValues=values)


def test_configuration_values_come_back_and_can_be_updated(eks: Any, fresh: str) -> None:
    name = {"clusterName": fresh, "addonName": "vpc-cni"}
    eks.create_addon(**name, configurationValues='{"enableNetworkPolicy": "true"}')
    until(lambda: eks.describe_addon(**name)["addon"]["status"] == "ACTIVE")
    update = eks.update_addon(**name, configurationValues='{"enableNetworkPolicy": "false"}')["update"]
    with pytest.raises(eks.exceptions.ResourceInUseException, match="currently in UPDATING state"):
        eks.update_addon(**name, configurationValues="{}")
    assert (
        eks.describe_update(name=fresh, addonName="vpc-cni", updateId=update["id"])["update"]["type"]
        == "AddonUpdate"
    )
    assert eks.describe_addon(**name)["addon"]["configurationValues"] == '{"enableNetworkPolicy": "false"}'


def test_a_pod_identity_association_lives_its_life(eks: Any, cluster: str, role: str) -> None:
    where = {"clusterName": cluster, "namespace": "llm", "serviceAccount": "vllm"}
    made = eks.create_pod_identity_association(**where, roleArn=role)["association"]
    with pytest.raises(eks.exceptions.ResourceInUseException, match="already exists"):
        eks.create_pod_identity_association(**where, roleArn=role)
    found = eks.list_pod_identity_associations(clusterName=cluster, namespace="llm")["associations"]
    assert [a["associationId"] for a in found] == [made["associationId"]]
    eks.update_pod_identity_association(
        clusterName=cluster, associationId=made["associationId"], disableSessionTags=True
    )
    key = {"clusterName": cluster, "associationId": made["associationId"]}
    assert eks.describe_pod_identity_association(**key)["association"]["disableSessionTags"] is True
    eks.delete_pod_identity_association(**key)
    with pytest.raises(eks.exceptions.ResourceNotFoundException):
        eks.describe_pod_identity_association(**key)


def test_an_association_with_a_role_nobody_made_is_refused(eks: Any, cluster: str) -> None:
    with pytest.raises(ClientError, match="does not exist"):
        eks.create_pod_identity_association(
            clusterName=cluster,
            namespace="a",
            serviceAccount="b",
            roleArn="arn:aws:iam::123456789012:role/none",
        )


def test_the_creator_is_cluster_administrator(aws: Aws, eks: Any, cluster: str) -> None:
    me = aws.client("sts").get_caller_identity()["Arn"]
    policies = eks.list_associated_access_policies(clusterName=cluster, principalArn=me)[
        "associatedAccessPolicies"
    ]
    assert [p["policyArn"] for p in policies] == [ADMIN]


def test_the_creator_gets_no_entry_when_that_is_switched_off(
    eks: Any, make_cluster: Callable[..., str]
) -> None:
    name = make_cluster(accessConfig={"bootstrapClusterCreatorAdminPermissions": False})
    assert eks.list_access_entries(clusterName=name)["accessEntries"] == []


def test_entries_are_refused_while_the_cluster_reads_its_config_map(
    eks: Any, make_cluster: Callable[..., str]
) -> None:
    name = make_cluster(accessConfig={"authenticationMode": "CONFIG_MAP"})
    with pytest.raises(
        eks.exceptions.InvalidRequestException, match="authentication mode must be set to one of"
    ):
        eks.list_access_entries(clusterName=name)


def test_an_access_entry_needs_a_principal_that_exists(eks: Any, cluster: str) -> None:
    with pytest.raises(eks.exceptions.InvalidParameterException, match="invalid principal"):
        eks.create_access_entry(clusterName=cluster, principalArn="arn:aws:iam::123456789012:role/none")


def test_policies_are_associated_and_taken_away(eks: Any, cluster: str, user: str) -> None:
    key = {"clusterName": cluster, "principalArn": user}
    eks.create_access_entry(**key, kubernetesGroups=["readers"])
    scope = {"type": "namespace", "namespaces": ["llm"]}
    eks.associate_access_policy(**key, policyArn=ADMIN, accessScope=scope)
    assert eks.list_associated_access_policies(**key)["associatedAccessPolicies"][0]["accessScope"] == scope
    assert (
        eks.list_access_entries(clusterName=cluster, associatedPolicyArn=ADMIN)["accessEntries"].count(user)
        == 1
    )
    eks.disassociate_access_policy(**key, policyArn=ADMIN)
    assert eks.list_associated_access_policies(**key)["associatedAccessPolicies"] == []
    eks.delete_access_entry(**key)
    with pytest.raises(eks.exceptions.ResourceNotFoundException):
        eks.describe_access_entry(**key)


def test_a_policy_eks_does_not_have_is_refused(eks: Any, cluster: str, user: str) -> None:
    key = {"clusterName": cluster, "principalArn": user}
    eks.create_access_entry(**key)
    with pytest.raises(eks.exceptions.InvalidParameterException):
        eks.associate_access_policy(**key, policyArn=ADMIN + "Nope", accessScope={"type": "cluster"})
