"""A node that is lost or reclaimed while the model loads."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from slipway_sandbox.testing import Faults

from tasks.cloud.kubernetes import Cluster
from tasks.records.errors import RolloutFailed
from tasks.rollout.evidence import node_lines
from tests.support.gated import GatedRelease, told
from tests.support.workloads import gpu_node, wait

Make = Callable[..., GatedRelease]
pytestmark = pytest.mark.timeout(240)


def test_the_node_is_lost_while_it_loads(release: Make, gpu_cluster: Cluster, faults: Faults) -> None:
    faults.set("engine-slow-load", value=120)
    one = release()
    one.apply()
    one.wait_until_loading()
    lost = gpu_node(gpu_cluster)
    faults.set("node-lost", target=lost)
    with pytest.raises(RolloutFailed, match="the node it runs on was lost") as caught:
        one.wait(120.0)
    assert f"node {lost} is not Ready" in told(caught.value)
    faults.clear("node-lost")  # it comes back
    wait(lambda: not node_lines(gpu_cluster, {"spec": {"nodeName": lost}}), 60.0)


def test_a_release_whose_spot_node_is_reclaimed_comes_up_on_the_next_one(
    release: Make, gpu_cluster: Cluster, faults: Faults
) -> None:
    faults.set("engine-slow-load", value=3, count=1)
    one = release()
    one.apply()
    one.wait_until_loading()
    before = gpu_node(gpu_cluster)
    faults.set("spot-reclaim", target=before, count=1)
    wait(lambda: gpu_cluster.get("v1", "Node", before) is None, 60.0)
    one.wait(100.0, patience=100.0)
    assert gpu_node(gpu_cluster) != before
