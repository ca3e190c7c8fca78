"""A cache claim that cannot be bound or attached."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from slipway_sandbox.testing import Faults

from tasks.cloud.kubernetes import Cluster
from tests.support.gated import GatedRelease, told
from tests.support.workloads import NAMESPACE, claim

Make = Callable[..., GatedRelease]
pytestmark = pytest.mark.timeout(240)


def test_the_claims_class_does_not_exist(release: Make, gpu_cluster: Cluster) -> None:
    one = release()
    gpu_cluster.apply(claim("classless", "missing"))
    one.mount("classless")
    failure = one.failure()
    assert failure.cause == "its cache claim names a StorageClass that does not exist"
    assert 'storageclass.storage.k8s.io "missing" not found' in told(failure)


def test_the_csi_driver_has_no_identity(release: Make, gpu_cluster: Cluster, faults: Faults) -> None:
    faults.set("csi-identity")
    one = release()
    gpu_cluster.apply(claim("unprovisioned"))
    one.mount("unprovisioned")
    failure = one.failure()
    assert failure.cause.startswith("the EBS CSI driver has no AWS identity")
    assert "no EC2 IMDS role found" in told(failure)


def test_the_claim_is_in_another_zone(release: Make, gpu_cluster: Cluster) -> None:
    zone = {"key": "topology.kubernetes.io/zone", "operator": "In", "values": ["us-east-1f"]}
    gpu_cluster.apply(
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": "elsewhere"},
            "spec": {
                "capacity": {"storage": "1Gi"},
                "accessModes": ["ReadWriteOnce"],
                "storageClassName": "waits",
                "csi": {"driver": "ebs.csi.aws.com", "volumeHandle": "vol-0123456789abcdef0"},
                "claimRef": {"name": "elsewhere", "namespace": NAMESPACE},
                "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [zone]}]}},
            },
        }
    )
    gpu_cluster.apply(claim("elsewhere", volumeName="elsewhere"))
    one = release()
    one.mount("elsewhere")
    failure = one.failure()
    assert failure.cause == "its cache volume is in another zone than every node that fits"
    assert "volume node affinity conflict" in told(failure)
