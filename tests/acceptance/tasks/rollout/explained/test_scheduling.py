"""A pod that is not scheduled, and a node that does not come."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from slipway_sandbox.testing import EksCluster, Faults

from tasks.cloud.aws import Aws
from tasks.cloud.kubernetes import Cluster
from tasks.rollout.node_refusals import NodeGroupHealth
from tests.support.gated import GatedRelease, told
from tests.support.workloads import gpu_node, wait

Make = Callable[..., GatedRelease]
pytestmark = pytest.mark.timeout(240)


def test_no_node_has_the_label(release: Make) -> None:
    one = release()
    one.pod["nodeSelector"] = {"workload": "other"}
    failure = one.failure()
    assert failure.cause == "no node has the label it asks for"
    assert "didn't match Pod's node affinity/selector" in told(failure)


def test_the_taint_is_not_tolerated(release: Make) -> None:
    one = release()
    one.pod["tolerations"] = []
    failure = one.failure()
    assert failure.cause == "no node's taints are tolerated"
    assert "untolerated taint {nvidia.com/gpu: true}" in told(failure)


def test_no_gpu_is_free(release: Make) -> None:
    one = release()
    one.ask_for_gpus(2)
    failure = one.failure()
    assert failure.cause == "no node has a free GPU for it"
    assert "Insufficient nvidia.com/gpu" in told(failure)


def test_the_device_plugin_finds_no_gpu(release: Make, gpu_cluster: Cluster, faults: Faults) -> None:
    faults.set("gpu-missing")
    node = gpu_node(gpu_cluster)
    wait(
        lambda: (
            (gpu_cluster.get("v1", "Node", node) or {})["status"]["allocatable"].get("nvidia.com/gpu") == "0"
        )
    )
    failure = release().failure()
    assert failure.cause == "no node has a free GPU for it"


@pytest.mark.parametrize(
    ("fault", "cause", "said"),
    [
        (
            "capacity",
            "no GPU node comes: EC2 has no capacity for the instance type in its zone",
            "g5.2xlarge capacity",
        ),
        ("quota-zero", "no GPU node comes: the account's vCPU quota is used up", "current vCPU limit of 0"),
    ],
)
def test_a_node_that_does_not_come_is_told_in_ec2s_words(
    release: Make,
    faults: Faults,
    eks: EksCluster,
    aws: Aws,
    fault: str,
    cause: str,
    said: str,
) -> None:
    one = release()
    # more than the node there is has
    one.ask_for_gpus(2)
    group: Any = SimpleNamespace(cluster_name=eks.name, gpu_node_group="gpu")
    named = {"clusterName": eks.name, "nodegroupName": "gpu"}
    faults.set(fault)
    try:
        aws.client("eks").update_nodegroup_config(**named, scalingConfig={"desiredSize": 2})
        health = NodeGroupHealth(aws, group)
        wait(lambda: bool(NodeGroupHealth(aws, group)()))
        failure = one.failure(group_issues=health)
    finally:
        aws.client("eks").update_nodegroup_config(**named, scalingConfig={"desiredSize": 1})
        faults.clear()
    assert failure.cause == cause
    assert said in told(failure)
    assert "Insufficient nvidia.com/gpu" in told(failure)
    wait(lambda: not NodeGroupHealth(aws, group)())
