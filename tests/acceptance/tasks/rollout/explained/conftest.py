"""One cluster with one GPU for the files here; each test has a release of its own in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from slipway_sandbox.testing import EksCluster, Faults, Sandbox, make_models

from tasks.cloud.kubernetes import Cluster
from tests.support.clouds import connected, without_nodes
from tests.support.gated import GatedRelease
from tests.support.weights import put_weights
from tests.support.workloads import device_plugin, on_nodes, pod_monitors, wait


@pytest.fixture(scope="package")
def eks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EksCluster]:
    with without_nodes(tmp_path_factory.mktemp("explained")) as made:
        yield made


@pytest.fixture(scope="package")
def sandbox(eks: EksCluster) -> Sandbox:
    return eks.sandbox


@pytest.fixture(scope="package")
def gpu_cluster(eks: EksCluster, tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    """The cluster with its GPU advertised, and the weights of a tiny Llama on a volume."""
    cluster = connected(eks)
    eks.add_gpu_nodes("gpu", "g5.2xlarge", workload="inference-gpu", most=2)
    pods = on_nodes("inference-gpu")
    cluster.apply(device_plugin(pods))
    cluster.apply(pod_monitors())
    put_weights(cluster, pods, make_models(tmp_path_factory.mktemp("hub")))
    eks.add_nodes("system", "m6i.large")
    wait(lambda: any("nvidia.com/gpu" in n["status"]["allocatable"] for n in cluster.list("v1", "Node")))
    return cluster


@pytest.fixture
def release(gpu_cluster: Cluster, faults: Faults) -> Iterator[Callable[..., GatedRelease]]:
    """Makes releases, which are removed after the test with every fault switched off."""
    made: list[GatedRelease] = []

    def make(**model: Any) -> GatedRelease:
        made.append(GatedRelease(gpu_cluster, **model))
        return made[-1]

    yield make
    faults.clear()
    for one in made:
        one.remove()
