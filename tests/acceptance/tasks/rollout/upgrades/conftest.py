"""One cluster with a node of four GPUs for the files here; each file has models of its own in it."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from slipway_sandbox.testing import EksCluster, Faults, Sandbox, make_models

from tasks.cloud.kubernetes import Cluster
from tasks.records.results import WarmCache
from tests.support.builders import a_cache
from tests.support.clouds import aws_over, connected, without_nodes
from tests.support.platform_fixtures import webhook
from tests.support.upgrades import Upgrades
from tests.support.weights import CLAIM, PATH, put_weights, storage_class
from tests.support.workloads import Document, device_plugin, on_nodes, pod_monitors, wait

__all__ = ["webhook"]


@pytest.fixture(scope="package")
def eks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EksCluster]:
    with without_nodes(tmp_path_factory.mktemp("upgrades")) as made:
        yield made


@pytest.fixture(scope="package")
def sandbox(eks: EksCluster) -> Sandbox:
    return eks.sandbox


@pytest.fixture(scope="package")
def four(eks: EksCluster, tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    """A node of four GPUs, a system node, and the weights of a tiny Llama on a volume."""
    cluster = connected(eks)
    eks.add_gpu_nodes("four", "g5.12xlarge", workload="four")
    eks.add_nodes("system", "m6i.large")
    eks.add_addon("snapshot-controller")
    cluster.apply(pod_monitors())
    cluster.apply(_scaled_objects())
    cluster.apply(device_plugin(on_nodes("four")))
    cluster.apply(storage_class("clones"))
    put_weights(cluster, on_nodes("four"), make_models(tmp_path_factory.mktemp("hub")))
    wait(
        lambda: "4" in {n["status"]["allocatable"].get("nvidia.com/gpu") for n in cluster.list("v1", "Node")}
    )
    return cluster


def _scaled_objects() -> Document:
    """KEDA's definition without KEDA: nothing scales here but the tests."""
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    names = {"kind": "ScaledObject", "plural": "scaledobjects", "singular": "scaledobject"}
    version = {"name": "v1alpha1", "served": True, "storage": True, "schema": {"openAPIV3Schema": anything}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "scaledobjects.keda.sh"},
        "spec": {"group": "keda.sh", "scope": "Namespaced", "names": names, "versions": [version]},
    }


@pytest.fixture(scope="module")
def make(four: Cluster, sandbox: Sandbox) -> Iterator[Callable[..., Upgrades]]:
    """Makes models, which are removed after the file."""
    s3, bucket = aws_over(sandbox).client("s3"), f"rollouts-{uuid.uuid4().hex[:8]}"
    s3.create_bucket(Bucket=bucket)
    made: list[Upgrades] = []

    def start(cache: WarmCache | None = None, **model: Any) -> Upgrades:
        made.append(Upgrades(four, bucket, s3, cache or a_cache(claim=CLAIM, path=PATH), **model))
        return made[-1]

    yield start
    sandbox.faults.clear()
    for one in made:
        one.end()


@pytest.fixture(scope="module")
def one(make: Callable[..., Upgrades]) -> Upgrades:
    """A model of one replica that serves, on the one claim."""
    upgrades = make()
    upgrades.roll_out()
    return upgrades


@pytest.fixture(autouse=True)
def no_fault_stays(faults: Faults) -> None:
    """Every test here ends with all faults switched off."""
