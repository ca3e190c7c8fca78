from __future__ import annotations

from typing import Any

import kubernetes_validate
import pytest

from tasks.cloud.waiting import Time
from tasks.infra import smoke
from tasks.records.errors import ClusterError
from tests.support.builders import ROOT, a_model, an_environment
from tests.support.clock import Clock
from tests.support.heard import Heard

READY = {"conditions": [{"type": "Ready", "status": "True"}], "allocatable": {"nvidia.com/gpu": "4"}}


def environment(**gpu: Any) -> Any:
    return an_environment(cluster={"gpu": {"provisioner": "karpenter", "smoke": True, **gpu}})


def a_node(name: str = "gpu-0", **over: Any) -> dict[str, Any]:
    labels = {"kubernetes.io/hostname": name, smoke.MEMORY_LABEL: "24576"}
    node = {"metadata": {"name": name, "labels": labels, "annotations": {}}, "spec": {}, "status": READY}
    return node | over


def on_gpu(node: str) -> dict[str, Any]:
    container = {"name": "c", "resources": {"requests": {"nvidia.com/gpu": "1"}}}
    return {
        "metadata": {"name": "p"},
        "spec": {"nodeName": node, "containers": [container]},
        "status": {"phase": "Running"},
    }


def annotated(text: str) -> dict[str, Any]:
    return {"name": "gpu-0", "annotations": {smoke.PROOF: text}}


@pytest.mark.parametrize(
    ("node", "pods", "tested"),
    [
        (a_node(), [], True),
        (a_node(), [on_gpu("other")], True),
        (a_node(), [on_gpu("gpu-0")], False),  # a model is there already
        (a_node(metadata=annotated("4 GPUs work")), [], False),
        (a_node(spec={"unschedulable": True}), [], False),
        (a_node(status={}), [], False),
        (a_node(status={**READY, "allocatable": {}}), [], False),
    ],
)
def test_a_node_is_tested_once_before_anything_has_its_gpus(
    node: dict[str, Any], pods: list[dict[str, Any]], tested: bool
) -> None:
    assert bool(smoke.choose([node], pods)) is tested


def test_the_job_takes_every_gpu_of_its_node_in_the_serving_image() -> None:
    model = a_model()
    found = smoke.job(environment(runtime_class="nvidia"), model, a_node(), 1080.0, ROOT)
    kubernetes_validate.validate(found, "1.33", strict=True)
    pod = found["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert (container["image"], pod["runtimeClassName"]) == (model.engine.image, "nvidia")
    assert pod["nodeSelector"] == {"kubernetes.io/hostname": "gpu-0"}
    assert container["command"][3:] == ["4", str(int(24576 * 0.85))]
    assert "nvidia-smi" in container["command"][2]
    assert {amounts["nvidia.com/gpu"] for amounts in container["resources"].values()} == {"4"}


class Cluster:
    """One new node; the test's pod ends in `phase` after some looks."""

    def __init__(self, phase: str, log: str, looks: int = 2) -> None:
        self.phase, self.log, self.looks = phase, log, looks
        self.patched: list[Any] = []
        self.jobs: list[str] = []

    def list(self, api: str, kind: str, namespace: str | None = None, label_selector: str = "") -> Any:
        if kind == "Node":
            return [a_node()]
        if kind == "Pod" and namespace:
            self.looks -= 1
            phase = self.phase if self.looks < 0 else "Pending"
            return [{"metadata": {"name": "smoke"}, "status": {"phase": phase}}]
        return []

    def apply(self, document: Any) -> Any:
        self.jobs.append(document["metadata"]["name"])
        return document

    def delete(self, api: str, kind: str, name: str, namespace: str) -> bool:
        self.jobs = [job for job in self.jobs if job != name]
        return True

    def logs(self, namespace: str, pod: str) -> str:
        return self.log

    def events(self, namespace: str, name: str) -> Any:
        return []

    def patch(self, api: str, kind: str, name: str, body: Any) -> None:
        self.patched.append(body)


def prove(cluster: Any, clock: Clock, heard: Heard) -> list[str]:
    return smoke.prove(environment(), a_model(), cluster, ROOT, heard, time=Time(clock, clock.sleep))


def test_a_node_that_passes_is_marked_and_its_job_removed(clock: Clock, heard: Heard) -> None:
    cluster: Any = Cluster("Succeeded", "noise\n4 GPUs work\n")
    assert prove(cluster, clock, heard) == ["gpu-0"]
    assert cluster.patched == [{"metadata": {"annotations": {smoke.PROOF: "4 GPUs work"}}}]
    assert cluster.jobs == []


def test_a_node_that_fails_is_cordoned_with_what_was_seen(clock: Clock, heard: Heard) -> None:
    cluster: Any = Cluster("Failed", "GPU 0: a matrix product is 0.0 to 1.0, not 3072.0\n")
    with pytest.raises(ClusterError, match="the node is cordoned") as caught:
        prove(cluster, clock, heard)
    assert caught.value.evidence == ("GPU 0: a matrix product is 0.0 to 1.0, not 3072.0",)
    assert cluster.patched[0]["spec"] == {"unschedulable": True}
    assert cluster.jobs == []


def test_a_test_that_never_ends_is_given_up_and_proves_nothing(clock: Clock, heard: Heard) -> None:
    cluster: Any = Cluster("Running", "", looks=10**6)
    with pytest.raises(ClusterError, match="did not end within"):
        prove(cluster, clock, heard)
    assert (cluster.patched, cluster.jobs) == ([], [])
