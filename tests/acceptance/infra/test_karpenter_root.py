"""What the cluster root makes for Karpenter, in place of a GPU node group."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.clock import until
from tests.support.roots import Applied

BY_PODS = {"gpu_provisioner": "karpenter"}
# IAM counts the characters of a role's inline policies without white space
INLINE_LIMIT = 10_240


@pytest.fixture(scope="module")
def by_pods(applied: Applied) -> Iterator[Applied]:
    applied.cluster.apply(**BY_PODS)
    yield applied
    applied.cluster.apply()


def test_there_is_no_gpu_node_group_and_a_second_plan_shows_no_changes(by_pods: Applied) -> None:
    groups = by_pods.aws.client("eks").list_nodegroups(clusterName="slipway-test")["nodegroups"]
    assert groups == ["system"]
    outputs = by_pods.cluster.outputs()
    assert outputs["gpu_node_group"] == ""
    assert outputs["gpu_zone"] == "us-east-1a"
    assert outputs["karpenter_node_role"] == "slipway-test-karpenter-node"
    assert outputs["karpenter_queue"] == "slipway-test-karpenter"
    by_pods.cluster.plan(changes=False, **BY_PODS)


def test_its_nodes_may_join_and_its_subnets_and_security_group_are_found(by_pods: Applied) -> None:
    eks, ec2, iam = (by_pods.aws.client(name) for name in ("eks", "ec2", "iam"))
    role = iam.get_role(RoleName="slipway-test-karpenter-node")["Role"]["Arn"]
    entry = eks.describe_access_entry(clusterName="slipway-test", principalArn=role)["accessEntry"]
    assert entry["type"] == "EC2_LINUX"
    discovered = [{"Name": "tag:karpenter.sh/discovery", "Values": ["slipway-test"]}]
    subnets = {subnet["SubnetId"] for subnet in ec2.describe_subnets(Filters=discovered)["Subnets"]}
    assert subnets == set(by_pods.cluster.outputs()["private_subnet_ids"])
    ours = [{"Name": "tag:aws:eks:cluster-name", "Values": ["slipway-test"]}]
    assert len(ec2.describe_security_groups(Filters=ours)["SecurityGroups"]) == 1


def test_its_controller_has_the_policy_of_its_documentation_by_pod_identity(by_pods: Applied) -> None:
    iam, eks = by_pods.aws.client("iam"), by_pods.aws.client("eks")
    policy = iam.get_role_policy(RoleName="slipway-test-karpenter", PolicyName="controller")["PolicyDocument"]
    assert len(re.sub(r"\s", "", json.dumps(policy))) < INLINE_LIMIT
    actions: set[str] = set()
    for statement in policy["Statement"]:
        named = statement["Action"]
        actions |= {named} if isinstance(named, str) else set(named)
        scoped = (
            statement["Resource"] != "*" or statement.get("Condition") or statement["Sid"].startswith("Read")
        )
        assert scoped, statement["Sid"]
    assert {"ec2:CreateFleet", "ec2:TerminateInstances", "iam:PassRole", "sqs:ReceiveMessage"} <= actions
    found = eks.list_pod_identity_associations(clusterName="slipway-test", namespace="kube-system")[
        "associations"
    ]
    assert "karpenter" in {each["serviceAccount"] for each in found}


@pytest.mark.parametrize(
    "kind",
    [
        "EC2 Spot Instance Interruption Warning",
        "EC2 Instance Rebalance Recommendation",
        "EC2 Instance State-change Notification",
    ],
)
def test_what_ec2_says_of_an_instance_comes_to_the_queue(by_pods: Applied, kind: str) -> None:
    sqs, events = by_pods.aws.client("sqs"), by_pods.aws.client("events")
    url = sqs.get_queue_url(QueueName="slipway-test-karpenter")["QueueUrl"]
    detail = json.dumps({"instance-id": "i-1"})
    entry: Any = {"Source": "aws.ec2", "DetailType": kind, "Detail": detail, "Resources": []}
    events.put_events(Entries=[entry])
    heard: list[str] = []

    def came() -> bool:
        messages = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", [])
        heard.extend(json.loads(message["Body"])["detail-type"] for message in messages)
        return kind in heard

    until(came)
