"""An add-on that is installed and brings nothing is told as that, in a cluster of the sandbox."""

from __future__ import annotations

import pytest
from slipway_sandbox.testing import EksCluster, Faults

from tasks.addons import probe
from tasks.addons.catalogue import Addon, chart_source, load_addons, values_files
from tasks.addons.helm import Helm
from tasks.addons.proofs import METRICS_API, Installed, prove, scaling_missing
from tasks.cloud import objects
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
        f"nvidia-device-plugin is there but does not bring what it must: node {name} has no allocatable nvidia.com/gpu yet"
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
    # the proof's pod is deleted while its volume is being attached: the volume goes all the same
    probe.await_removal(cluster, environment(60.0), driver.namespace)
    name = probe.probe_name(environment(60.0))
    assert cluster.get("storage.k8s.io/v1", "StorageClass", name) is None
    tagged = [{"Name": "tag:slipway:environment", "Values": ["staging"]}]
    assert sandbox_cluster.sandbox.client("ec2").describe_volumes(Filters=tagged)["Volumes"] == []


def test_keda_is_proven_by_the_api_that_the_autoscaler_reads(
    sandbox_cluster: EksCluster, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", sandbox_cluster.sandbox.variables()["PATH"])
    keda, where = (
        ADDONS["keda"],
        an_environment(deadlines={"addon": 60}, addons={"chart_root": "sandbox/charts"}),
    )
    sandbox_cluster.add_nodes("operators", "m6i.large")
    assert scaling_missing(Installed(keda, cluster, where, ROOT)) == [
        "the ScaledObject definition is not established yet"
    ]
    helm = Helm(cluster, deadline=60, on_line=print)
    helm.install(keda, chart_source(keda, where, ROOT), values_files(keda, where, ROOT), [])
    prove(Installed(keda, cluster, where, ROOT), Quiet())
    served = cluster.get("apiregistration.k8s.io/v1", "APIService", METRICS_API)
    assert objects.holds(served, "Available")
    assert helm.uninstall(keda)
