from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from slipway_sandbox.aws.eks.nodegroups import DELETE_SECONDS
from tests.aws.conftest import Aws, until

TAINT = {"key": "nvidia.com/gpu", "value": "present", "effect": "NO_SCHEDULE"}


@pytest.fixture
def make_group(eks: Any, cluster: str, role: str, subnets: list[str]) -> Callable[..., str]:
    def make(**more: Any) -> str:
        name = f"g-{uuid.uuid4().hex[:8]}"
        size = {"minSize": 0, "maxSize": 4, "desiredSize": 0}
        arguments = {"instanceTypes": ["g6.xlarge"], "scalingConfig": size, **more}
        eks.create_nodegroup(
            clusterName=cluster, nodegroupName=name, subnets=subnets, nodeRole=role, **arguments
        )
        return name

    return make


@pytest.fixture
def show(eks: Any, cluster: str) -> Callable[[str], dict[str, Any]]:
    return lambda name: dict(eks.describe_nodegroup(clusterName=cluster, nodegroupName=name)["nodegroup"])


def active(show: Callable[[str], dict[str, Any]], name: str) -> None:
    until(lambda: show(name)["status"] == "ACTIVE")


def test_a_node_group_is_creating_and_then_active(make_group: Any, show: Any) -> None:
    name = make_group()
    assert show(name)["status"] == "CREATING"
    active(show, name)


def test_what_was_asked_for_comes_back(make_group: Any, show: Any) -> None:
    name = make_group(
        labels={"slipway/pool": "gpu"},
        taints=[TAINT],
        capacityType="SPOT",
        updateConfig={"maxUnavailablePercentage": 50},
        amiType="AL2023_x86_64_NVIDIA",
    )
    shown = show(name)
    assert shown["labels"] == {"slipway/pool": "gpu"}
    assert shown["taints"] == [TAINT]
    assert shown["capacityType"] == "SPOT"
    assert shown["updateConfig"] == {"maxUnavailablePercentage": 50}
    assert shown["amiType"] == "AL2023_x86_64_NVIDIA"


def test_a_label_of_kubernetes_own_is_refused(make_group: Any) -> None:
    with pytest.raises(ClientError, match="Label cannot contain reserved prefixes"):
        make_group(labels={"node.kubernetes.io/exclude-from-external-load-balancers": "true"})


def test_a_launch_template_is_resolved_to_id_name_and_version(aws: Aws, make_group: Any, show: Any) -> None:
    ec2 = aws.client("ec2")
    name = f"lt-{uuid.uuid4().hex[:8]}"
    template = ec2.create_launch_template(LaunchTemplateName=name, LaunchTemplateData={"EbsOptimized": True})
    group = make_group(launchTemplate={"name": name, "version": "1"})
    shown = show(group)["launchTemplate"]
    assert shown == {"id": template["LaunchTemplate"]["LaunchTemplateId"], "name": name, "version": "1"}


def test_a_launch_template_that_does_not_exist_is_refused(make_group: Any) -> None:
    with pytest.raises(ClientError, match="does not exist"):
        make_group(launchTemplate={"name": "none"})


def test_a_taint_with_an_effect_kubernetes_spells_otherwise_is_refused(make_group: Any) -> None:
    with pytest.raises(ClientError, match="effect"):
        make_group(taints=[{**TAINT, "effect": "NoSchedule"}])


def test_desired_must_lie_between_min_and_max(make_group: Any) -> None:
    with pytest.raises(ClientError, match="desired capacity 5 can't be greater than max size 4"):
        make_group(scalingConfig={"minSize": 0, "maxSize": 4, "desiredSize": 5})


def test_scaling_is_an_update_with_an_id_that_ends_successful(
    eks: Any, cluster: str, make_group: Any, show: Any
) -> None:
    name = make_group()
    active(show, name)
    update = eks.update_nodegroup_config(
        clusterName=cluster, nodegroupName=name, scalingConfig={"desiredSize": 2}
    )["update"]
    assert show(name)["status"] == "UPDATING"
    where = {"name": cluster, "nodegroupName": name}
    until(lambda: eks.describe_update(updateId=update["id"], **where)["update"]["status"] == "Successful")
    assert show(name)["scalingConfig"] == {"minSize": 0, "maxSize": 4, "desiredSize": 2}


def test_a_group_that_is_not_active_cannot_be_updated(eks: Any, cluster: str, make_group: Any) -> None:
    name = make_group()
    with pytest.raises(eks.exceptions.ResourceInUseException, match="not in Active State"):
        eks.update_nodegroup_config(clusterName=cluster, nodegroupName=name, scalingConfig={"desiredSize": 1})


def test_labels_and_taints_are_changed_by_key(eks: Any, cluster: str, make_group: Any, show: Any) -> None:
    name = make_group(labels={"a": "1", "b": "1"}, taints=[TAINT])
    active(show, name)
    eks.update_nodegroup_config(
        clusterName=cluster,
        nodegroupName=name,
        labels={"addOrUpdateLabels": {"b": "2"}, "removeLabels": ["a"]},
        taints={"addOrUpdateTaints": [{**TAINT, "value": "other"}]},
    )
    assert show(name)["labels"] == {"b": "2"}
    assert [taint["value"] for taint in show(name)["taints"]] == ["other"]


def test_no_capacity_at_creation_fails_the_group_with_ec2s_words(
    aws: Aws, make_group: Any, show: Any
) -> None:
    aws.faults.set("capacity", target="p5.48xlarge")
    name = make_group(
        instanceTypes=["p5.48xlarge"], scalingConfig={"minSize": 0, "maxSize": 1, "desiredSize": 1}
    )
    until(lambda: show(name)["status"] == "CREATE_FAILED")
    issue = show(name)["health"]["issues"][0]
    assert issue["code"] == "AsgInstanceLaunchFailures"
    assert (
        "InsufficientInstanceCapacity - We currently do not have sufficient p5.48xlarge capacity"
        in issue["message"]
    )


def test_a_group_of_several_types_fails_only_when_none_has_capacity(
    aws: Aws, make_group: Any, show: Any
) -> None:
    aws.faults.set("capacity", target="g6.xlarge")
    name = make_group(
        instanceTypes=["g6.xlarge", "g5.xlarge"], scalingConfig={"minSize": 0, "maxSize": 1, "desiredSize": 1}
    )
    active(show, name)
    assert show(name)["health"]["issues"] == []


def test_a_refused_scale_out_degrades_the_group_until_one_succeeds(
    aws: Aws, eks: Any, cluster: str, make_group: Any, show: Any
) -> None:
    name = make_group()
    active(show, name)
    aws.faults.set("capacity", target="g6.*")
    eks.update_nodegroup_config(clusterName=cluster, nodegroupName=name, scalingConfig={"desiredSize": 1})
    until(lambda: show(name)["status"] == "DEGRADED")
    aws.faults.clear("capacity")
    active(show, name)
    assert show(name)["health"]["issues"] == []


def test_a_zero_quota_shows_as_vcpu_limit_exceeded(aws: Aws, make_group: Any, show: Any) -> None:
    aws.faults.set("quota-zero")
    name = make_group(scalingConfig={"minSize": 0, "maxSize": 1, "desiredSize": 1})
    until(lambda: show(name)["status"] == "CREATE_FAILED")
    assert "VcpuLimitExceeded" in show(name)["health"]["issues"][0]["message"]


def test_an_empty_group_needs_no_capacity(aws: Aws, make_group: Any, show: Any) -> None:
    aws.faults.set("capacity")
    name = make_group()
    active(show, name)


def test_the_group_version_follows_the_cluster_and_no_further(
    eks: Any, cluster: str, make_group: Any, show: Any
) -> None:
    name = make_group()
    active(show, name)
    with pytest.raises(ClientError, match="greater than the cluster's version"):
        eks.update_nodegroup_version(clusterName=cluster, nodegroupName=name, version="1.35")
    update = eks.update_nodegroup_version(clusterName=cluster, nodegroupName=name)["update"]
    assert update["type"] == "VersionUpdate"
    assert show(name)["releaseVersion"].startswith(show(name)["version"])


def test_the_node_role_gets_an_access_entry(eks: Any, cluster: str, make_group: Any, role: str) -> None:
    make_group()
    entry = eks.describe_access_entry(clusterName=cluster, principalArn=role)["accessEntry"]
    assert entry["type"] == "EC2_LINUX"


def test_a_deleted_group_stays_until_its_last_instance_is_terminated(
    aws: Aws, eks: Any, cluster: str, make_group: Any, show: Any, subnets: list[str]
) -> None:
    name, ec2 = make_group(), aws.client("ec2")
    tags = [{"Key": "eks:cluster-name", "Value": cluster}, {"Key": "eks:nodegroup-name", "Value": name}]
    launched = ec2.run_instances(
        ImageId="ami-12c6146b",
        MinCount=1,
        MaxCount=1,
        InstanceType="g6.xlarge",
        SubnetId=subnets[0],
        TagSpecifications=[{"ResourceType": "instance", "Tags": tags}],
    )
    active(show, name)
    eks.delete_nodegroup(clusterName=cluster, nodegroupName=name)
    time.sleep(2 * DELETE_SECONDS)
    assert show(name)["status"] == "DELETING"
    ec2.terminate_instances(InstanceIds=[launched["Instances"][0]["InstanceId"]])
    until(lambda: name not in eks.list_nodegroups(clusterName=cluster)["nodegroups"])
