"""A cluster of its own for each file here: what they do to nodes and faults would reach the others' releases."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from slipway_sandbox.testing import EksCluster, Sandbox, start

from tasks.cloud.kubernetes import Cluster
from tests.support.clouds import connected


@pytest.fixture(scope="module")
def eks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EksCluster]:
    """A cluster with the EBS CSI driver and no node yet."""
    with start(tmp_path_factory.mktemp("rollout"), parts=("aws", "region")) as running:
        made = running.make_cluster("rollout-test")
        made.add_addon("eks-pod-identity-agent")
        made.add_addon("aws-ebs-csi-driver", "ebs-csi-controller-sa")
        yield made


@pytest.fixture(scope="module")
def sandbox(eks: EksCluster) -> Sandbox:
    return eks.sandbox


@pytest.fixture(scope="module")
def cluster(eks: EksCluster) -> Cluster:
    return connected(eks)
