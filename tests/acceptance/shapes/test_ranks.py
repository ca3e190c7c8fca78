"""A model shared out on four and on eight GPUs, through the whole lifecycle; and a rank that dies."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import yaml
from slipway_sandbox.testing import Faults

from tests.support.project import Project, another_environment

MODEL = "tiny-wide"
IDLE_SECONDS = 120.0


@dataclass(frozen=True)
class Shape:
    """An environment whose nodes have `ranks` GPUs, with a model shared out on all of them."""

    project: Project
    ranks: int

    @property
    def where(self) -> str:
        return f"ranks-{self.ranks}"

    def run(self, *words: str) -> Any:
        return self.project.run(*words, "-e", self.where)

    def get(self, path: str, **query: str) -> list[dict[str, Any]]:
        with self.project.sandbox.api(f"slipway-{self.where}") as api:
            answer = api.get(path, params=query)
        items: list[dict[str, Any]] = answer.raise_for_status().json()["items"]
        return items

    def pod(self) -> dict[str, Any]:
        pods = self.get(
            f"/api/v1/namespaces/llm-{self.where}/pods", labelSelector=f"slipway.dev/model={MODEL}"
        )
        (pod,) = [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]
        return pod


@pytest.fixture(scope="module", params=[(4, "g5.12xlarge"), (8, "g5.48xlarge")], ids=["four", "eight"])
def shape(request: pytest.FixtureRequest, project: Project) -> Iterator[Shape]:
    """Nodes of so many GPUs; the model serves."""
    ranks, kind = request.param
    made = Shape(project, ranks)
    another_environment(project, made.where, {"instance_type": kind, "max": 1, "volume_gib": 20})
    document = yaml.safe_load((project.home / "models" / "tiny-llama.yaml").read_text())
    document |= {"name": MODEL, "source": {"repo": "slipway/tiny-wide"}}
    document["engine"]["tensor_parallel_size"] = ranks
    document["resources"] = {"cpu": "16", "memory": "64Gi", "gpu": ranks, "ephemeral_storage": "8Gi"}
    (project.home / "models" / f"{MODEL}.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
    try:
        done = made.run("deploy", MODEL).succeeded()
        assert "validation: PASS" in done.output
        judged = made.run("preflight", MODEL).succeeded()
        assert f"{ranks} GPU: tensor {ranks}" in judged.output
        yield made
    finally:
        made.run("teardown", "--models", "delete", "--volumes", "delete").succeeded()


def test_the_pod_has_all_gpus_of_a_node_shared_memory_and_room_on_its_disk(shape: Shape) -> None:
    pod = shape.pod()
    (container,) = pod["spec"]["containers"]
    assert container["resources"]["requests"]["nvidia.com/gpu"] == str(shape.ranks)
    assert container["resources"]["requests"]["ephemeral-storage"] == "8Gi"
    assert {"name": "NCCL_DEBUG", "value": "WARN"} in container["env"]
    memory = [v["emptyDir"] for v in pod["spec"]["volumes"] if "emptyDir" in v]
    assert memory == [{"medium": "Memory", "sizeLimit": "16Gi"}]
    (node,) = shape.get("/api/v1/nodes", labelSelector="workload=inference-gpu")
    assert node["status"]["allocatable"]["nvidia.com/gpu"] == str(shape.ranks)


@pytest.mark.parametrize(
    ("fault", "rank", "told"),
    [
        ("engine-rank-crash", 3, r"error: the GPU .*\(in rank Worker_TP3 alone\)"),
        ("engine-rank-killed", 2, r"error: .*its process VllmWorker-2 was ended by SIGKILL.*in rank VllmWorker-2 alone"),
    ],
)  # fmt: skip
def test_a_rank_that_dies_is_named_and_the_next_deploy_mends(
    shape: Shape, faults: Faults, fault: str, rank: int, told: str
) -> None:
    # a broken GPU stays broken: what served before does not come up on it either
    faults.set(fault, target=MODEL, value=rank)
    file = shape.project.home / "models" / f"{MODEL}.yaml"
    before = file.read_text()
    file.write_text(before.replace("max_num_seqs: 32", "max_num_seqs: 16"))
    try:
        shape.run("deploy", MODEL).refused(1, told)
    finally:
        faults.clear()
        file.write_text(before)
    assert "validation: PASS" in shape.run("deploy", MODEL).succeeded().output


def test_all_its_gpus_are_given_back_and_taken_again(shape: Shape) -> None:
    end = time.monotonic() + IDLE_SECONDS
    decision = shape.run("scale-down", MODEL).succeeded().output
    while "scaled to zero" not in decision:
        assert time.monotonic() < end, decision
        decision = shape.run("scale-down", MODEL).succeeded().output
    assert shape.get("/api/v1/nodes", labelSelector="workload=inference-gpu") == []
    assert "answers: " in shape.run("wake", MODEL).succeeded().output


def test_a_split_that_does_not_divide_the_heads_is_refused_with_those_that_do(shape: Shape) -> None:
    file = shape.project.home / "models" / f"{MODEL}.yaml"
    before = file.read_text()
    file.write_text(before.replace("slipway/tiny-wide", "slipway/tiny-llama"))
    try:
        shape.run("deploy", MODEL).refused(3, "does not divide its 6 attention heads", "sizes that do: 1, 2")
    finally:
        file.write_text(before)
