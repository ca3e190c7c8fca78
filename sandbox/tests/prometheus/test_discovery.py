"""Monitors and pods in, targets out."""

from __future__ import annotations

from typing import Any

import pytest

from slipway_sandbox.images.prometheus.discovery import Cluster, Target, selects, targets
from slipway_sandbox.images.prometheus.relabel import UnknownAction, relabel
from tests.prometheus.conftest import cluster, pod, pod_monitor

FASTEST = 0.5


def only(found: Cluster) -> Target:
    (target,) = targets(found, FASTEST)
    return target


def test_a_pod_monitors_labels_are_the_operators() -> None:
    target = only(cluster(pod("vllm-0", "127.9.1.1:8000")))
    assert target.url == "http://127.9.1.1:8000/metrics"
    assert dict(target.labels) == {
        "namespace": "llm",
        "pod": "vllm-0",
        "container": "vllm",
        "endpoint": "http",
        "job": "llm/vllm",
        "instance": "127.9.1.1:8000",
    }


def test_a_service_monitors_labels_are_the_operators() -> None:
    exporter = pod("dcgm-x", "127.9.1.2:9400", "gpu")
    found = cluster(exporter)
    found.pod_monitors = []
    found.services = [
        {
            "metadata": {"name": "dcgm", "namespace": "gpu", "labels": {"app": "dcgm", "team": "ml"}},
            "spec": {},
        }
    ]
    found.slices = [
        {
            "metadata": {
                "name": "dcgm-1",
                "namespace": "gpu",
                "labels": {"kubernetes.io/service-name": "dcgm"},
            },
            "ports": [{"name": "metrics", "port": 9400}, {"name": "other", "port": 1}],
            "endpoints": [{"addresses": ["127.9.1.2"], "targetRef": {"kind": "Pod", "name": "dcgm-x"}}],
        }
    ]
    found.service_monitors = [
        {
            "metadata": {"name": "dcgm", "namespace": "monitoring", "labels": {}},
            "spec": {
                "selector": {"matchLabels": {"app": "dcgm"}},
                "namespaceSelector": {"matchNames": ["gpu"]},
                "targetLabels": ["team"],
                "endpoints": [{"port": "metrics", "path": "/m"}],
            },
        }
    ]
    target = only(found)
    assert target.url == "http://127.9.1.2:9400/m"
    assert dict(target.labels) == {
        "namespace": "gpu",
        "service": "dcgm",
        "pod": "dcgm-x",
        "container": "vllm",
        "endpoint": "metrics",
        "job": "dcgm",
        "team": "ml",
        "instance": "127.9.1.2:9400",
    }


@pytest.mark.parametrize(
    ("interval", "default", "expected"),
    [("15s", "30s", 15.0), (None, "30s", 30.0), ("100ms", "30s", FASTEST), (None, None, 30.0)],
)
def test_intervals(interval: str | None, default: str | None, expected: float) -> None:
    monitor = pod_monitor({"interval": interval} if interval else {})
    spec: dict[str, Any] = {"scrapeInterval": default} if default else {}
    assert only(cluster(pod("p", "127.9.1.1:80"), monitor=monitor, **spec)).interval == expected


@pytest.mark.parametrize(
    ("endpoint", "count"),
    [
        ({"port": "http"}, 1),
        ({"port": "absent"}, 0),
        ({"port": None, "portNumber": 80}, 1),
        ({"port": None, "targetPort": "http"}, 1),
    ],
)
def test_ports(endpoint: dict[str, Any], count: int) -> None:
    found = cluster(pod("p", "127.9.1.1:80"), monitor=pod_monitor(endpoint))
    assert len(targets(found, FASTEST)) == count


@pytest.mark.parametrize(
    ("change", "count"),
    [
        ({"phase": "Pending"}, 0),
        ({"namespace": "elsewhere"}, 0),
        ({"app": "other"}, 0),
        ({"app": "vllm", "more": "yes"}, 1),
    ],
)
def test_which_pods_a_monitor_means(change: dict[str, Any], count: int) -> None:
    assert len(targets(cluster(pod("p", "127.9.1.1:80", **change)), FASTEST)) == count


def test_any_namespace() -> None:
    monitor = pod_monitor({}, namespaceSelector={"any": True})
    only(cluster(pod("p", "127.9.1.1:80", namespace="elsewhere"), monitor=monitor))


@pytest.mark.parametrize(
    ("spec", "count"),
    [
        ({"podMonitorSelector": {"matchLabels": {"release": "kps"}}}, 1),
        ({"podMonitorSelector": {"matchLabels": {"release": "another"}}}, 0),
        ({"podMonitorSelector": None}, 0),
        ({"podMonitorNamespaceSelector": None}, 0),
        ({"podMonitorNamespaceSelector": {"matchLabels": {"name": "llm"}}}, 1),
    ],
)
def test_the_prometheus_object_says_which_monitors_count(spec: dict[str, Any], count: int) -> None:
    assert len(targets(cluster(pod("p", "127.9.1.1:80"), **spec), FASTEST)) == count


def test_without_a_prometheus_object_nothing_is_scraped() -> None:
    found = cluster(pod("p", "127.9.1.1:80"))
    found.prometheus = None
    assert targets(found, FASTEST) == []


@pytest.mark.parametrize(
    ("operator", "values", "expected"),
    [
        ("In", ["a"], True),
        ("In", ["b"], False),
        ("NotIn", ["b"], True),
        ("Exists", [], True),
        ("DoesNotExist", [], False),
    ],
)
def test_match_expressions(operator: str, values: list[str], expected: bool) -> None:
    rule = {"key": "app", "operator": operator, "values": values}
    assert selects({"matchExpressions": [rule]}, {"app": "a"}) is expected


def test_relabelling_sees_what_was_discovered() -> None:
    rules = [
        {"sourceLabels": ["__meta_kubernetes_pod_node_name"], "targetLabel": "node"},
        {"action": "replace", "targetLabel": "job", "replacement": "vllm"},
    ]
    target = only(cluster(pod("p", "127.9.1.1:80"), monitor=pod_monitor({"relabelings": rules})))
    assert dict(target.labels)["node"] == "node-1"
    assert dict(target.labels)["job"] == "vllm"


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (
            {"sourceLabels": ["a", "b"], "targetLabel": "c", "replacement": "${2}-$1", "regex": "(.);(.)"},
            {"c": "2-1"},
        ),
        ({"action": "drop", "sourceLabels": ["a"], "regex": "1"}, None),
        ({"action": "keep", "sourceLabels": ["a"], "regex": "2"}, None),
        ({"action": "labeldrop", "regex": "a|b"}, {}),
        ({"action": "labelmap", "regex": "(a)", "replacement": "new_$1"}, {"new_a": "1"}),
    ],
)
def test_relabel_actions(rule: dict[str, Any], expected: dict[str, str] | None) -> None:
    before = {"a": "1", "b": "2"}
    after = relabel(before, [rule])
    if expected is None:
        assert after is None
    else:
        assert after == ({} if rule.get("action") == "labeldrop" else before) | expected


def test_an_unknown_relabel_action_is_refused() -> None:
    with pytest.raises(UnknownAction):
        relabel({}, [{"action": "hashmod"}])
