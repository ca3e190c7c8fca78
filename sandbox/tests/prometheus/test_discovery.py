"""Monitors and pods in, targets out."""

from __future__ import annotations

from typing import Any

import pytest

from slipway_sandbox.images.prometheus.discovery import Cluster, Target, rejection, selects, targets
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


@pytest.mark.parametrize(
    ("endpoint", "prometheus", "why"),
    [
        (
            {"interval": "15s", "scrapeTimeout": "25s"},
            {},
            'scrapeTimeout "25s" greater than scrapeInterval "15s"',
        ),
        ({"scrapeTimeout": "20s"}, {"scrapeInterval": "15s"}, 'greater than scrapeInterval "15s"'),
        ({"scrapeTimeout": "31s"}, {}, 'greater than scrapeInterval "30s"'),
        ({"interval": "15s", "scrapeTimeout": "15s"}, {}, ""),
        ({"interval": "5s"}, {"scrapeTimeout": "10s"}, ""),
    ],
)
def test_the_operator_skips_a_timeout_above_its_interval(
    endpoint: dict[str, str], prometheus: dict[str, str], why: str
) -> None:
    said = rejection([{}, endpoint], prometheus)
    assert (why in said) if why else said == ""


def test_a_monitor_with_one_wrong_endpoint_is_skipped_whole() -> None:
    found = cluster(pod("vllm-0", "127.9.1.1:8000"))
    endpoints = found.pod_monitors[0]["spec"]["podMetricsEndpoints"]
    assert len(targets(found, FASTEST)) == 1
    endpoints.append({"port": "other", "interval": "1s", "scrapeTimeout": "2s"})
    assert targets(found, FASTEST) == []


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


@pytest.mark.parametrize("which", ["relabelings", "metricRelabelings"])
def test_relabelling_is_refused(which: str) -> None:
    rules = [{"action": "drop", "sourceLabels": ["a"], "regex": "1"}]
    with pytest.raises(ValueError, match=f"{which} are not supported"):
        targets(cluster(pod("p", "127.9.1.1:80"), monitor=pod_monitor({which: rules})), FASTEST)
