"""Scaling to zero waits for the pods, and only for those that hold something."""

from __future__ import annotations

from typing import Any

import pytest

from tasks.cloud.waiting import Time
from tasks.idle.scale import gpu_pods, to_zero
from tasks.records.errors import ClusterError
from tests.support.builders import a_model, an_environment
from tests.support.clock import Clock
from tests.support.heard import Heard


def a_pod(name: str, phase: str = "Running", *, node: str | None = "n", gpu: str | None = "1") -> Any:
    requests = {"nvidia.com/gpu": gpu} if gpu else {}
    spec: dict[str, Any] = {"containers": [{"resources": {"requests": requests}}]}
    return {
        "metadata": {"name": name, "namespace": "llm"},
        "spec": spec | ({"nodeName": node} if node else {}),
        "status": {"phase": phase},
    }


class Drains:
    """A cluster without KEDA whose Deployment has these pods, at each look the next ones; the last for ever."""

    def __init__(self, *looks: list[Any]) -> None:
        self.looks = list(looks)
        self.scaled: list[tuple[str, int]] = []

    def get(self, api: str, kind: str, *_: str) -> Any:
        return None

    def patch(self, api: str, kind: str, name: str, body: Any, namespace: str, subresource: str) -> None:
        assert (kind, namespace, subresource) == ("Deployment", "llm", "scale")
        self.scaled.append((name, body["spec"]["replicas"]))

    def list(self, *_: str, label_selector: str = "") -> list[Any]:
        return self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]


def test_it_waits_until_the_pods_have_gone(clock: Clock, heard: Heard) -> None:
    cluster: Any = Drains([a_pod("a"), a_pod("b")], [a_pod("b")], [a_pod("evicted", "Failed")])
    to_zero(cluster, a_model(), an_environment(), heard, time=Time(clock, clock.sleep))
    assert cluster.scaled == [("vllm-llama", 0)]
    assert heard.lines == ["llama: no replica is left"]
    assert len(clock.slept) == 2


class Woken(Drains):
    """With KEDA, whose pause a request ends at the second look."""

    def __init__(self, *looks: list[Any]) -> None:
        super().__init__(*looks)
        self.pauses = ["0", "0", None]

    def get(self, api: str, kind: str, *_: str) -> Any:
        pause = self.pauses.pop(0) if len(self.pauses) > 1 else self.pauses[0]
        return {"metadata": {"annotations": {"autoscaling.keda.sh/paused-replicas": pause} if pause else {}}}

    def patch(self, api: str, kind: str, name: str, body: Any, *of: str) -> None:
        if kind == "Deployment":
            super().patch(api, kind, name, body, *of)


def test_a_request_that_wakes_the_model_meanwhile_ends_it(clock: Clock, heard: Heard) -> None:
    cluster: Any = Woken([a_pod("old")])
    model = a_model(scaling={"scale_to_zero": True})
    assert not to_zero(cluster, model, an_environment(), heard, time=Time(clock, clock.sleep))
    assert heard.lines == ["llama: a request came and woke it: its nodes stay"]


def test_nobody_wakes_a_model_that_no_request_may_wake(clock: Clock, heard: Heard) -> None:
    cluster: Any = Woken([a_pod("old")], [])
    assert to_zero(cluster, a_model(), an_environment(), heard, time=Time(clock, clock.sleep))


def test_pods_that_stay_are_named_once_drain_and_grace_are_over(clock: Clock, heard: Heard) -> None:
    cluster: Any = Drains([a_pod("stuck")])
    model = a_model(engine={"drain": "5s", "shutdown_timeout": "15s"})
    environment = an_environment(deadlines={"drain": "40s"})
    began = clock.now
    with pytest.raises(ClusterError) as caught:
        to_zero(cluster, model, environment, heard, time=Time(clock, clock.sleep))
    assert (caught.value.evidence, caught.value.next_command) == (
        ("stuck",),
        "kubectl -n llm describe pod stuck",
    )
    assert clock.now - began == 60.0


def test_pods_on_a_node_that_request_a_gpu_keep_it() -> None:
    pods = [
        a_pod("serves"),
        a_pod("no gpu", gpu=None),
        a_pod("no node", node=None),
        a_pod("evicted", "Failed"),
    ]
    cluster: Any = Drains(pods)
    assert gpu_pods(cluster, an_environment()) == ["llm/serves"]
