"""A Kubernetes API or an EKS that fails for a while, or stays down."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import pytest
from slipway_sandbox.testing import EksCluster, Faults

from tasks.cloud.aws import Aws
from tasks.cloud.kubernetes import Cluster
from tasks.cloud.node_group import describe
from tasks.records.environment import Environment
from tasks.records.errors import CloudError, ClusterError
from tasks.rollout import namespace
from tests.support.builders import ROOT, an_environment
from tests.support.gated import GatedRelease, told
from tests.support.workloads import wait

Make = Callable[..., GatedRelease]
pytestmark = pytest.mark.timeout(240)


def test_an_api_server_that_stumbles_is_asked_again(release: Make, faults: Faults) -> None:
    one = release()
    faults.set("api-500", target="PATCH deployments", count=2)
    faults.set("api-conflict", target=f"services/{one.workload}", count=2)
    faults.set("api-500", target="GET deployments", count=2)
    one.apply()
    one.wait(patience=20.0)
    assert faults.active() == []


def test_a_slow_api_server_is_waited_for(release: Make, faults: Faults) -> None:
    one = release()
    for target in ("PATCH deployments", "GET deployments", "GET pods"):
        faults.set("api-slow", target=target, value=1.5, count=1)
    one.apply()
    one.wait(patience=60.0)
    assert faults.active() == []


def test_an_api_server_that_stays_down_is_named(release: Make, faults: Faults) -> None:
    one = release()
    faults.set("api-500", target="PATCH deployments")
    with pytest.raises(ClusterError) as caught:
        one.apply()
    assert "api-500" in str(caught.value)


def test_pods_that_cannot_be_made_are_told_by_their_replica_set(release: Make, faults: Faults) -> None:
    faults.set("api-500", target="POST pods")
    failure = release().failure()
    assert failure.cause == "no pod can be made"
    assert "api-500" in told(failure)


def test_a_namespace_that_is_being_deleted_is_told_with_what_holds_it(gpu_cluster: Cluster) -> None:
    name = "going"
    gpu_cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    held = {"name": "held", "namespace": name, "finalizers": ["example.com/never"]}
    gpu_cluster.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": held})
    gpu_cluster.delete("v1", "Namespace", name)
    environment = an_environment(namespace=name)
    try:
        wait(lambda: _is_told(gpu_cluster, environment))
    finally:
        gpu_cluster.patch("v1", "ConfigMap", "held", {"metadata": {"finalizers": None}}, name)


def _is_told(cluster: Cluster, environment: Environment) -> bool:
    """Whether what holds the namespace is told: its conditions come a moment after its deletion."""
    with pytest.raises(ClusterError) as caught:
        namespace.apply(ROOT, cluster, environment)
    assert "access-entries" not in str(caught.value)
    assert "kubectl get namespace going -o yaml" in str(caught.value.next_command)
    return "example.com/never" in caught.value.cause


def test_a_throttled_eks_is_asked_again_and_one_that_stays_throttled_is_named(
    gpu_cluster: Cluster, faults: Faults, eks: EksCluster, aws: Aws
) -> None:
    group = SimpleNamespace(cluster_name=eks.name, gpu_node_group="gpu")
    faults.set("eks-throttled", count=2)
    try:
        assert describe(aws, group)["status"] == "ACTIVE"  # type: ignore[arg-type]
        faults.set("eks-throttled")
        with pytest.raises(CloudError, match="Throttling"):
            describe(aws, group)  # type: ignore[arg-type]
    finally:
        faults.clear()
