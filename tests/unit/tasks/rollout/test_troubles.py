from __future__ import annotations

from typing import Any

import pytest

from tasks.cloud.autoscaler import Obstacle
from tasks.records.errors import AccessDenied
from tasks.rollout.troubles import find, of_scaler
from tests.support.builders import a_model, an_environment

AT = "2026-11-30T10:00:00Z"
LIMIT = "Failed to schedule pod, node limits have been exhausted for nodepool (NodePool=slipway-gpu)"
READY = {"conditions": [{"type": "Ready", "status": "True"}]}


class Cluster:
    """One pod without a node of which Karpenter says `says`."""

    def __init__(self, says: str = "") -> None:
        self.says = says

    def get(self, api: str, kind: str, name: str, namespace: str | None = None) -> Any:
        return {"status": READY} if kind == "NodePool" and name == "slipway-gpu" else None

    def list(self, api: str, kind: str, namespace: str | None = None, label_selector: str = "") -> Any:
        pod = {"metadata": {"name": "vllm-a-1", "namespace": "llm", "creationTimestamp": AT}}
        if kind == "Pod" and self.says:
            return [pod]
        if kind == "Event" and self.says and namespace == "llm":
            about = {"involvedObject": {"name": "vllm-a-1"}, "reason": "FailedScheduling"}
            return [{**about, "message": self.says, "lastTimestamp": AT}]
        return []


def environment(**gpu: Any) -> Any:
    return an_environment(namespace="llm", cluster={"gpu": {"provisioner": "karpenter", **gpu}})


def test_a_node_pool_at_its_limit_is_told_with_the_pods_that_wait_for_it() -> None:
    cluster: Any = Cluster(LIMIT)
    (found,) = find(cluster, environment(), [], list)
    assert found.cause == "no GPU node comes: the NodePool is at its limit, cluster.gpu.max; vllm-a-1 wait"
    assert found.evidence == (
        "Karpenter: node limits have been exhausted for nodepool (NodePool=slipway-gpu)",
    )
    assert "cluster.gpu.max in environments/staging.yaml" in found.next_command


def denied() -> list[str]:
    raise AccessDenied("events:DescribeRule is not allowed")


@pytest.mark.parametrize(
    ("market", "notices", "causes"),
    [
        ("SPOT", list, []),
        (
            "SPOT",
            lambda: ["there is no EventBridge rule r"],
            ["no notice of a spot interruption reaches Karpenter"],
        ),
        # a reader may not ask: that is said, and the rest is looked at
        ("SPOT", denied, ["whether EC2's notices reach Karpenter is not known"]),
        ("ON_DEMAND", denied, []),
    ],
)
def test_notices_matter_where_nodes_are_spot(market: str, notices: Any, causes: list[str]) -> None:
    cluster: Any = Cluster()
    found = find(cluster, environment(capacity_type=market), [], notices)
    assert [each.cause.startswith(cause) for each, cause in zip(found, causes, strict=True)] == [True] * len(
        causes
    )


@pytest.mark.parametrize(("replicas", "said"), [(1, "it serves with 1 replica"), (3, "with 3 replicas")])
def test_what_hinders_scaling_is_told_with_what_the_model_serves_with(replicas: int, said: str) -> None:
    found = of_scaler(a_model(), replicas, Obstacle("the HPA gets no demand", "kubectl get hpa", ("False",)))
    assert found.cause.endswith(said)
    assert (found.evidence, found.next_command) == (("False",), "kubectl get hpa")


def test_a_holder_that_is_not_there_is_told_with_the_models_it_would_wake() -> None:
    cluster: Any = Cluster()
    models = [a_model(name="tiny", scaling={"scale_to_zero": True}), a_model()]
    (found,) = find(cluster, environment(), models, list)
    assert (found.subject, found.cause) == ("holder", "the holder is not ready: no request wakes tiny")
    assert "app=llm-holder" in found.next_command
    assert find(cluster, environment(), [a_model()], list) == []
