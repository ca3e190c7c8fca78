from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.aws.conftest import Aws, until


def code(error: pytest.ExceptionInfo[ClientError]) -> str:
    return str(error.value.response["Error"]["Code"])


def test_a_cluster_is_creating_without_an_endpoint_and_then_active_with_one(
    eks: Any, make_cluster: Callable[..., str]
) -> None:
    name = make_cluster(wait=False)
    creating = eks.describe_cluster(name=name)["cluster"]
    assert creating["status"] == "CREATING"
    assert "endpoint" not in creating
    until(lambda: eks.describe_cluster(name=name)["cluster"]["status"] == "ACTIVE")
    active = eks.describe_cluster(name=name)["cluster"]
    assert active["endpoint"].startswith("https://")
    assert active["certificateAuthority"]["data"]


def test_describe_shows_what_was_asked_for(eks: Any, make_cluster: Callable[..., str]) -> None:
    name = make_cluster(
        version="1.33",
        logging={"clusterLogging": [{"types": ["api", "audit"], "enabled": True}]},
        encryptionConfig=[
            {"resources": ["secrets"], "provider": {"keyArn": "arn:aws:kms:us-east-1:123456789012:key/k"}}
        ],
        kubernetesNetworkConfig={"serviceIpv4Cidr": "10.100.0.0/16"},
        tags={"team": "ml"},
    )
    shown = eks.describe_cluster(name=name)["cluster"]
    assert shown["version"] == "1.33"
    assert shown["platformVersion"].startswith("eks.")
    assert {"types": ["api", "audit"], "enabled": True} in shown["logging"]["clusterLogging"]
    assert shown["encryptionConfig"][0]["resources"] == ["secrets"]
    assert shown["kubernetesNetworkConfig"]["serviceIpv4Cidr"] == "10.100.0.0/16"
    assert shown["accessConfig"]["authenticationMode"] == "API"
    assert shown["identity"]["oidc"]["issuer"].startswith("https://oidc.eks.")
    assert shown["tags"] == {"team": "ml"}


def test_zonal_shift_is_shown_only_where_it_was_asked_for(eks: Any, make_cluster: Callable[..., str]) -> None:
    # hashicorp/aws does not compute the block: shown unasked, every plan would take it away
    silent = make_cluster()
    assert "zonalShiftConfig" not in eks.describe_cluster(name=silent)["cluster"]
    asked = make_cluster(zonalShiftConfig={"enabled": False})
    assert eks.describe_cluster(name=asked)["cluster"]["zonalShiftConfig"] == {"enabled": False}


def test_the_cluster_security_group_exists_in_ec2(aws: Aws, eks: Any, cluster: str) -> None:
    group = eks.describe_cluster(name=cluster)["cluster"]["resourcesVpcConfig"]["clusterSecurityGroupId"]
    found = aws.client("ec2").describe_security_groups(GroupIds=[group])["SecurityGroups"][0]
    assert {"Key": f"kubernetes.io/cluster/{cluster}", "Value": "owned"} in found["Tags"]


def test_a_role_that_does_not_exist_is_refused(eks: Any, subnets: list[str]) -> None:
    with pytest.raises(ClientError, match="could not be assumed") as error:
        eks.create_cluster(
            name="x", roleArn="arn:aws:iam::123456789012:role/none", resourcesVpcConfig={"subnetIds": subnets}
        )
    assert code(error) == "InvalidParameterException"


def test_subnets_of_one_zone_are_refused(eks: Any, role: str, subnets: list[str]) -> None:
    with pytest.raises(ClientError, match="at least two different AZs"):
        eks.create_cluster(name="x", roleArn=role, resourcesVpcConfig={"subnetIds": subnets[:1]})


def test_a_name_is_taken_once(eks: Any, role: str, subnets: list[str], cluster: str) -> None:
    with pytest.raises(ClientError, match="Cluster already exists with name") as error:
        eks.create_cluster(name=cluster, roleArn=role, resourcesVpcConfig={"subnetIds": subnets})
    assert code(error) == "ResourceInUseException"


def test_an_unknown_cluster_is_not_found(eks: Any) -> None:
    with pytest.raises(eks.exceptions.ResourceNotFoundException, match="No cluster found for name: nowhere"):
        eks.describe_cluster(name="nowhere")


def test_a_cluster_with_node_groups_cannot_be_deleted_and_without_them_goes(
    aws: Aws, eks: Any, make_cluster: Callable[..., str], role: str, subnets: list[str]
) -> None:
    name = make_cluster()
    group_id = eks.describe_cluster(name=name)["cluster"]["resourcesVpcConfig"]["clusterSecurityGroupId"]
    eks.create_nodegroup(clusterName=name, nodegroupName="g", subnets=subnets, nodeRole=role)
    with pytest.raises(eks.exceptions.ResourceInUseException, match="Cluster has nodegroups attached"):
        eks.delete_cluster(name=name)
    eks.delete_nodegroup(clusterName=name, nodegroupName="g")
    until(lambda: not eks.list_nodegroups(clusterName=name)["nodegroups"])
    assert eks.delete_cluster(name=name)["cluster"]["status"] == "DELETING"
    until(lambda: name not in eks.list_clusters()["clusters"])
    with pytest.raises(ClientError, match=r"InvalidGroup\.NotFound"):
        aws.client("ec2").describe_security_groups(GroupIds=[group_id])


def test_a_version_update_goes_one_minor_at_a_time_and_ends_successful(
    eks: Any, make_cluster: Callable[..., str]
) -> None:
    name = make_cluster(version="1.32")
    with pytest.raises(ClientError, match=r"Unsupported Kubernetes minor version update from 1\.32 to 1\.34"):
        eks.update_cluster_version(name=name, version="1.34")
    update = eks.update_cluster_version(name=name, version="1.33")["update"]
    assert update["status"] == "InProgress"
    assert eks.describe_cluster(name=name)["cluster"]["status"] == "UPDATING"
    until(lambda: eks.describe_update(name=name, updateId=update["id"])["update"]["status"] == "Successful")
    assert eks.describe_cluster(name=name)["cluster"]["version"] == "1.33"


def test_endpoint_access_can_be_changed_but_not_to_what_it_is(
    eks: Any, make_cluster: Callable[..., str]
) -> None:
    name = make_cluster()
    change = {"endpointPrivateAccess": True, "publicAccessCidrs": ["10.0.0.0/8"]}
    eks.update_cluster_config(name=name, resourcesVpcConfig=change)
    until(lambda: eks.describe_cluster(name=name)["cluster"]["status"] == "ACTIVE")
    with pytest.raises(ClientError, match="already at the desired configuration"):
        eks.update_cluster_config(name=name, resourcesVpcConfig=change)


def test_tags_of_clusters_and_node_groups_are_added_and_removed(
    eks: Any, cluster: str, role: str, subnets: list[str]
) -> None:
    group = eks.create_nodegroup(
        clusterName=cluster, nodegroupName="tagged", subnets=subnets, nodeRole=role, tags={"a": "1"}
    )["nodegroup"]
    arn = group["nodegroupArn"]
    eks.tag_resource(resourceArn=arn, tags={"b": "2"})
    eks.untag_resource(resourceArn=arn, tagKeys=["a"])
    assert eks.list_tags_for_resource(resourceArn=arn)["tags"] == {"b": "2"}


def test_the_fault_eks_throttled_strikes_the_operation_it_names(aws: Aws, eks: Any) -> None:
    aws.faults.set("eks-throttled", target="ListClusters", count=1)
    with pytest.raises(ClientError, match="Rate exceeded") as error:
        eks.list_clusters()
    assert code(error) == "ThrottlingException"
    assert "clusters" in eks.list_clusters()


def test_another_region_has_other_clusters(aws: Aws, cluster: str) -> None:
    elsewhere = aws.client("eks", region="eu-west-1")
    assert elsewhere.list_clusters()["clusters"] == []
