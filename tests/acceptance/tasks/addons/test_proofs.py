"""An add-on that is installed and brings nothing is told as that, in a cluster of the sandbox."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from slipway_sandbox.faults import Faults
from slipway_sandbox.settings import Settings

from tasks.addons.catalogue import Addon, load_addons
from tasks.addons.proofs import Installed, prove
from tasks.cloud.kubernetes import Cluster
from tasks.records.environment import Environment
from tasks.records.errors import AddonNotReady
from tests.acceptance.tasks.cache.conftest import cluster, settings  # noqa: F401
from tests.acceptance.tasks.rollout.test_explained import Quiet, add_system_node, daemon_set, wait
from tests.support.builders import ROOT, an_environment

ADDONS = {addon.name: addon for addon in load_addons(ROOT)}


@pytest.fixture
def faults(settings: Settings) -> Iterator[Faults]:  # noqa: F811
    made = Faults(settings.faults_file)
    yield made
    made.clear()


def environment(seconds: float) -> Environment:
    return an_environment(deadlines={"addon": seconds})


def not_ready(addon: Addon, place: Cluster) -> AddonNotReady:
    with pytest.raises(AddonNotReady) as caught:
        prove(Installed(addon, place, environment(2.0), ROOT), Quiet())
    assert caught.value.next_command
    return caught.value


def test_a_driver_that_finds_no_gpu_is_told_by_its_node(cluster: Cluster, faults: Faults) -> None:  # noqa: F811
    plugin = ADDONS["nvidia-device-plugin"]
    faults.set("gpu-missing")
    cluster.apply(
        daemon_set({"nodeSelector": {"workload": "inference-gpu"}, "tolerations": [{"operator": "Exists"}]})
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
    settings: Settings,  # noqa: F811
    cluster: Cluster,  # noqa: F811
    faults: Faults,
) -> None:
    driver = ADDONS["aws-ebs-csi-driver"]
    add_system_node(settings)  # for the pod that mounts the probe claim
    wait(lambda: len(cluster.list("v1", "Node")) == 2)
    faults.set("csi-identity")
    failure = not_ready(driver, cluster)
    assert "the probe claim is not bound yet" in failure.cause
    assert any("no EC2 IMDS role found" in line for line in failure.evidence), failure.evidence
    faults.clear()
    prove(Installed(driver, cluster, environment(60.0), ROOT), Quiet())
