"""An add-on that is installed and brings nothing is told as that, in a cluster of the sandbox."""

from __future__ import annotations

import pytest
from slipway_sandbox.testing import EksCluster, Faults

from tasks.addons.catalogue import Addon, load_addons
from tasks.addons.proofs import Installed, prove
from tasks.cloud.kubernetes import Cluster
from tasks.records.environment import Environment
from tasks.records.errors import AddonNotReady
from tests.support.builders import ROOT, an_environment
from tests.support.workloads import Quiet, device_plugin, wait

ADDONS = {addon.name: addon for addon in load_addons(ROOT)}


def environment(seconds: float) -> Environment:
    return an_environment(deadlines={"addon": seconds})


def not_ready(addon: Addon, place: Cluster) -> AddonNotReady:
    with pytest.raises(AddonNotReady) as caught:
        prove(Installed(addon, place, environment(2.0), ROOT), Quiet())
    assert caught.value.next_command
    return caught.value


def test_a_driver_that_finds_no_gpu_is_told_by_its_node(cluster: Cluster, faults: Faults) -> None:
    plugin = ADDONS["nvidia-device-plugin"]
    faults.set("gpu-missing")
    cluster.apply(
        device_plugin(
            {"nodeSelector": {"workload": "inference-gpu"}, "tolerations": [{"operator": "Exists"}]}
        )
    )
    failure = not_ready(plugin, cluster)
    [node] = cluster.list("v1", "Node", label_selector="workload=inference-gpu")
    name = node["metadata"]["name"]
    assert failure.cause == (
        f"nvidia-device-plugin is installed but does not bring what it must: node {name} has no allocatable nvidia.com/gpu yet"
    )
    faults.clear()
    prove(Installed(plugin, cluster, environment(60.0), ROOT), Quiet())


def test_an_ebs_driver_without_identity_is_told_in_its_own_words(
    sandbox_cluster: EksCluster,
    cluster: Cluster,
    faults: Faults,
) -> None:
    driver = ADDONS["aws-ebs-csi-driver"]
    sandbox_cluster.add_nodes("system", "m6i.large")  # for the pod that mounts the probe claim
    wait(lambda: bool(cluster.list("v1", "Node", label_selector="eks.amazonaws.com/nodegroup=system")))
    faults.set("csi-identity")
    failure = not_ready(driver, cluster)
    assert "the probe claim is not bound yet" in failure.cause
    assert any("no EC2 IMDS role found" in line for line in failure.evidence), failure.evidence
    faults.clear()
    prove(Installed(driver, cluster, environment(60.0), ROOT), Quiet())
