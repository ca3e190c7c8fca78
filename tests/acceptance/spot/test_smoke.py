"""The GPUs of a new node are tested in the serving image before a model is placed there."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from slipway_sandbox.testing import Faults

from tests.support.commands import Done
from tests.support.project import Project, another_environment

pytestmark = [pytest.mark.long, pytest.mark.timeout(1200)]

MODEL, WHERE = "tiny-llama", "smoked"
CLUSTER = f"slipway-{WHERE}"
IDLE_SECONDS = 120.0


@pytest.fixture(scope="module")
def deployed(project: Project) -> Iterator[Done]:
    gpu = {"provisioner": "karpenter", "instance_type": "g6.xlarge", "max": 2, "smoke": True}
    another_environment(project, WHERE, gpu)
    # the real chart's values: with GPU feature discovery
    (project.home / "sandbox" / "values" / "nvidia-device-plugin.yaml").unlink()
    yield project.run("deploy", MODEL, "-e", WHERE).succeeded()
    project.run("teardown", "-e", WHERE, "--models", "delete", "--volumes", "delete").succeeded()


def get(project: Project, path: str, **query: str) -> list[dict[str, Any]]:
    with project.sandbox.api(CLUSTER) as api:
        found: list[dict[str, Any]] = api.get(path, params=query).json()["items"]
    return found


def nodes(project: Project) -> dict[str, tuple[bool, str]]:
    """Whether each GPU node is cordoned, and what its test said."""
    return {
        node["metadata"]["name"]: (
            bool(node["spec"].get("unschedulable")),
            node["metadata"].get("annotations", {}).get("slipway.dev/gpu-smoke", ""),
        )
        for node in get(project, "/api/v1/nodes", labelSelector="workload=inference-gpu")
    }


def fall_asleep(project: Project) -> None:
    end = time.monotonic() + IDLE_SECONDS
    while "scaled to zero" not in project.run("scale-down", MODEL, "-e", WHERE).succeeded().output:
        assert time.monotonic() < end, "never idle"


def test_a_new_node_is_tested_before_the_model_is_there(project: Project, deployed: Done) -> None:
    (node,) = nodes(project)
    assert nodes(project) == {node: (False, "1 GPUs work")}
    said = deployed.output
    assert said.index(f"smoke test of the GPUs of {node}") < said.index(f"{node}: 1 GPUs work")
    assert said.index(f"{node}: 1 GPUs work") < said.index("gate passed")
    assert get(project, "/apis/batch/v1/namespaces/kube-system/jobs") == []


@pytest.mark.usefixtures("deployed")
def test_a_node_is_labelled_with_what_its_gpu_is(project: Project) -> None:
    end = time.monotonic() + 60.0
    wanted = {"nvidia.com/gpu.product": "NVIDIA-L4", "nvidia.com/gpu.count": "1"}
    while True:
        (node,) = get(project, "/api/v1/nodes", labelSelector="workload=inference-gpu")
        if wanted.items() <= node["metadata"]["labels"].items():
            return
        assert time.monotonic() < end, node["metadata"]["labels"]
        time.sleep(0.2)


@pytest.mark.usefixtures("deployed")
@pytest.mark.parametrize(
    ("value", "cause"),
    [
        (None, r"GPU 0: a matrix product is 3264\.0 to 3264\.0, not 3072\.0"),
        (1.0, "RuntimeError: CUDA error: uncorrectable ECC error encountered"),
    ],
)
def test_a_node_that_fails_is_cordoned_and_the_next_one_is_taken(
    project: Project, faults: Faults, value: float | None, cause: str
) -> None:
    fall_asleep(project)
    faults.set("gpu-broken", value=value)
    project.run("wake", MODEL, "-e", WHERE).refused(
        1,
        r"error: the GPUs of \S+ fail their smoke test; the node is cordoned",
        cause,
        "next: kubectl describe node",
    )
    (broken,) = nodes(project)
    assert nodes(project)[broken][0]
    faults.clear()
    project.run("wake", MODEL, "-e", WHERE).succeeded()
    assert [cordoned for name, (cordoned, _) in nodes(project).items() if name != broken] == [False]
