"""A Kubernetes API or an EKS that fails for a while, or stays down."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import pytest
from slipway_sandbox.testing import EksCluster, Faults

from tasks.cloud.aws import Aws
from tasks.cloud.kubernetes import Cluster
from tasks.cloud.node_group import describe
from tasks.records.errors import CloudError, ClusterError
from tests.support.gated import GatedRelease

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
