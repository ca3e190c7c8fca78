from __future__ import annotations

from typing import Any

import pytest

from tasks.cloud.eks_cluster import FoundCluster
from tasks.cloud.vpc import Network, Subnet
from tasks.preflight.existing import (
    judge_bucket,
    judge_cluster,
    judge_key,
    judge_namespace,
    judge_needed,
    judge_network,
    judge_node_group,
)
from tests.support.builders import an_environment

KEY = "arn:aws:kms:us-east-1:123456789012:key/1"
SHARED = {"existing": {"cluster": "shared"}}
GROUP: dict[str, Any] = {
    "labels": {"workload": "inference-gpu"},
    "taints": [{"key": "nvidia.com/gpu", "value": "true", "effect": "NO_SCHEDULE"}],
    "instanceTypes": ["g5.2xlarge"],
}


def a_cluster(
    name: str = "shared", status: str = "ACTIVE", version: str = "1.35", **tags: str
) -> FoundCluster:
    return FoundCluster(name, status, version, "https://eks", "", "vpc-1", ("subnet-a",), tags)


OURS, ANOTHERS = ({"slipway:environment": name} for name in ("staging", "production"))


@pytest.mark.parametrize(
    ("over", "found", "status", "says"),
    [
        ({}, None, "ok", "slipway-staging is free"),
        ({}, a_cluster("slipway-staging", **OURS), "ok", "this environment"),
        ({}, a_cluster("slipway-staging"), "fail", "without the tag slipway:environment"),
        ({}, a_cluster("slipway-staging", **ANOTHERS), "fail", "slipway:environment=production"),
        (SHARED, a_cluster(), "ok", "Kubernetes 1.35, in vpc-1"),
        (SHARED, None, "fail", "no EKS cluster shared in us-east-1"),
        (SHARED, a_cluster(**ANOTHERS), "fail", "made by the environment production"),
        (SHARED, a_cluster(**OURS), "fail", "made by this environment"),
        (SHARED, a_cluster(status="DELETING"), "fail", "is DELETING"),
        (SHARED, a_cluster(version="1.29"), "fail", "runs Kubernetes 1.29; what is served needs 1.30"),
        (SHARED, a_cluster(version="1.30"), "ok", "Kubernetes 1.30"),
    ],
)
def test_a_cluster_is_ours_free_or_one_that_can_be_used(
    over: dict[str, Any], found: FoundCluster | None, status: str, says: str
) -> None:
    row = judge_cluster(an_environment(**over), found)
    assert row.status == status
    assert says in row.detail
    assert bool(row.next_command) == (status == "fail")


@pytest.mark.parametrize(
    ("group", "status", "says"),
    [
        (GROUP, "ok", "its size is its owner's"),
        (None, "fail", "no node group gpu in shared"),
        (GROUP | {"labels": {}}, "fail", "no label workload=inference-gpu"),
        (GROUP | {"taints": []}, "ok", "gpu"),
        (
            GROUP | {"taints": [{"key": "dedicated", "value": "ml", "effect": "NO_SCHEDULE"}]},
            "fail",
            "dedicated=ml:NO_SCHEDULE is not tolerated",
        ),
        (GROUP | {"instanceTypes": ["g6.xlarge"]}, "fail", "instance types are g6.xlarge"),
    ],
)
def test_a_node_group_that_exists_must_take_the_pods(group: Any, status: str, says: str) -> None:
    row = judge_node_group(an_environment(existing={"cluster": "shared", "node_group": "gpu"}), group)
    assert row.status == status
    assert says in row.detail


@pytest.mark.parametrize(
    ("found", "status", "says"),
    [
        ({"KeyState": "Enabled"}, "ok", "is enabled"),
        (None, "fail", "there is no key"),
        ({"KeyState": "Disabled"}, "fail", "is Disabled"),
        ({"KeyState": "PendingDeletion"}, "fail", "is PendingDeletion"),
        ({"KeyState": "Enabled", "KeySpec": "RSA_2048"}, "fail", "S3 takes symmetric keys"),
    ],
)
def test_a_key_that_exists_must_be_able_to_encrypt(found: Any, status: str, says: str) -> None:
    row = judge_key(KEY, found)
    assert row.status == status
    assert says in row.detail


def test_subnets_without_a_way_out_are_a_warning_with_what_must_be_there() -> None:
    out = Subnet("subnet-a", "vpc-1", "us-east-1a", "nat-1")
    shut = Subnet("subnet-b", "vpc-1", "us-east-1b")
    assert judge_network(Network("vpc-1", ("10.0.0.0/16",), (out,))).status == "ok"
    row = judge_network(Network("vpc-1", ("10.0.0.0/16",), (out, shut)))
    assert (row.status, "subnet-b has no route out" in row.detail) == ("warn", True)


def test_what_a_cluster_lacks_comes_with_the_command_that_adds_it() -> None:
    row = judge_needed(a_cluster(), ["VolumeSnapshots"])
    assert row.status == "fail"
    assert "--cluster-name shared --addon-name snapshot-controller" in row.next_command
    assert judge_needed(a_cluster(), []).status == "ok"


@pytest.mark.parametrize(
    ("namespace", "status"),
    [
        (None, "ok"),
        ({"metadata": {"labels": {"app.kubernetes.io/managed-by": "slipway"}}}, "ok"),
        ({"metadata": {"labels": {"team": "billing"}}}, "fail"),
        ({"metadata": {}}, "fail"),
    ],
)
def test_a_namespace_of_somebody_elses_is_refused(namespace: Any, status: str) -> None:
    assert judge_namespace(an_environment(**SHARED), namespace).status == status


@pytest.mark.parametrize(
    ("region", "status", "says"),
    [
        ("us-east-1", "ok", "stays"),
        ("eu-west-1", "fail", "is in eu-west-1, not in us-east-1"),
        ("", "fail", "belongs to another account"),
        (None, "fail", "there is no bucket models"),
    ],
)
def test_a_bucket_that_exists_must_be_this_accounts_and_in_the_region(
    region: str | None, status: str, says: str
) -> None:
    row = judge_bucket("models", "model_bucket", "us-east-1", region)
    assert row.status == status
    assert says in row.detail
