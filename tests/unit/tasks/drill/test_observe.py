"""What a look reads of the cluster and of Prometheus, and the details that explain a promise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from tasks.cloud.prometheus import Prometheus
from tasks.drill.observe import Place
from tests.support.builders import a_model, an_environment
from tests.support.canned import CannedCluster

MODEL, ENVIRONMENT = a_model(), an_environment(cluster={"gpu": {"provisioner": "karpenter"}})
LABELS = {"app": "vllm", "slipway.dev/model": "llama"}
QUERY = "sum(vllm:num_requests_running)"
SCALED = {
    "apiVersion": "keda.sh/v1alpha1",
    "kind": "ScaledObject",
    "metadata": {"name": "vllm-llama"},
    "spec": {"maxReplicaCount": 2, "triggers": [{"metadata": {"query": QUERY}}]},
}


def a_pod(name: str, node: str | None, owner: str = "ReplicaSet") -> dict[str, Any]:
    return {
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "llm", "labels": LABELS, "creationTimestamp": "2026-11-30T00:00:00Z", "ownerReferences": [{"kind": owner}]},
        "spec": {"nodeName": node} if node else {},
        "status": {"phase": "Running"},
    }  # fmt: skip


def a_node(name: str) -> dict[str, Any]:
    return {"kind": "Node", "metadata": {"name": name, "labels": {"workload": "inference-gpu"}}}


def endpoints(*ready: str) -> dict[str, Any]:
    each = [{"conditions": {"ready": True}, "targetRef": {"name": name}} for name in ready]
    each.append({"conditions": {"ready": False}, "targetRef": {"name": "late"}})
    labels = {"kubernetes.io/service-name": "vllm-llama"}
    return {"kind": "EndpointSlice", "metadata": {"name": "s", "labels": labels}, "endpoints": each}


def prometheus(answers: Mapping[str, Any]) -> Prometheus:
    """Answers by a part of the query; no series for others."""

    def get(path: str, params: Mapping[str, str]) -> Any:
        matching = [rows for part, rows in answers.items() if part in params["query"]]
        found: Any = matching[0] if matching else []
        result = [{"metric": labels, "value": [0, str(value)]} for labels, value in found]
        return {"status": "success", "data": {"resultType": "vector", "result": result}}

    return Prometheus(get, "here")


def a_place(cluster: CannedCluster, answers: Mapping[str, Any]) -> Place:
    return Place(cluster, prometheus(answers), ENVIRONMENT, MODEL, [SCALED])


@pytest.fixture
def cluster() -> CannedCluster:
    live = {**SCALED, "spec": {**SCALED["spec"], "maxReplicaCount": 1}}  # type: ignore[dict-item]
    return CannedCluster(
        live,
        {"kind": "Deployment", "metadata": {"name": "vllm-llama"}, "spec": {"replicas": 2}},
        {"kind": "NodePool", "metadata": {"name": "slipway-gpu"}, "spec": {"limits": {"nodes": "1"}}},
        {"kind": "NodeClaim", "metadata": {"name": "c", "labels": {"karpenter.sh/nodepool": "slipway-gpu"}}},
        a_node("node-1"),
        a_pod("first", "node-1"),
        a_pod("agent", "node-1", owner="DaemonSet"),
        a_pod("second", None),
        endpoints("first"),
    )


def test_a_look_has_replicas_endpoints_demand_and_answers(cluster: CannedCluster) -> None:
    answers = {"num_requests_running": [({}, 3)], "request_success": [({"pod": "first"}, 7)]}
    seen = a_place(cluster, answers).look(5.0)
    assert (seen.at, seen.wanted, seen.demand, seen.answered) == (5.0, 2, 3.0, {"first": 7.0})
    assert seen.in_service == {"first"}
    assert seen.nodes == ["node-1"]
    assert seen.pod("second")


def test_a_query_without_series_is_no_demand_and_not_zero(cluster: CannedCluster) -> None:
    assert a_place(cluster, {}).look(0.0).demand is None


def test_what_prometheus_says_instead_of_an_answer_is_kept(cluster: CannedCluster) -> None:
    def refuse(path: str, params: Mapping[str, str]) -> Any:
        return {"status": "error", "error": f"parse error in {params['query'][:3]}"}

    place = Place(cluster, Prometheus(refuse, "here"), ENVIRONMENT, MODEL, [SCALED])
    assert place.look(0.0).unanswered == ("Prometheus refused a query", QUERY, "parse error in sum")
    assert place.details("second").unheard == place.look(0.0).unanswered


def test_the_details_hold_what_is_live_beside_what_was_applied(cluster: CannedCluster) -> None:
    found = a_place(cluster, {"num_requests_running": [({}, 3)]}).details("second")
    key = ("ScaledObject", "vllm-llama")
    live = found.live[key]
    assert live
    assert (found.applied[key]["spec"]["maxReplicaCount"], live["spec"]["maxReplicaCount"]) == (2, 1)
    assert (found.heard, found.claims) == (3.0, 1)
    assert found.pool
    # what a DaemonSet runs keeps no node
    assert found.on_nodes == {"node-1": ["llm/first"]}
