from __future__ import annotations

import json
import threading
import time
from typing import Any

import pytest
from kubernetes import watch

from slipway_sandbox.kubernetes import errors, selectors
from tests.kubernetes.conftest import Cluster, pod, refusal


def _pods(cluster: Cluster, namespace: str, **query: str) -> list[str]:
    return [p.metadata.name for p in cluster.core.list_namespaced_pod(namespace, **query).items]


@pytest.fixture
def three(cluster: Cluster, namespace: str) -> str:
    for name, labels in (("a", {"app": "x"}), ("b", {"app": "y", "gpu": "1"}), ("c", {"app": "z"})):
        cluster.core.create_namespaced_pod(namespace, pod(name, labels=labels, schedulerName="nobody"))
    return namespace


@pytest.mark.parametrize(
    ("selector", "names"),
    [
        ("app=x", ["a"]),
        ("app==x", ["a"]),
        ("app!=x", ["b", "c"]),
        ("app in (x, z)", ["a", "c"]),
        ("app notin (x,z)", ["b"]),
        ("gpu", ["b"]),
        ("!gpu,app in (x)", ["a"]),
        ("app=x,gpu", []),
    ],
)
def test_label_selectors_select(cluster: Cluster, three: str, selector: str, names: list[str]) -> None:
    assert _pods(cluster, three, label_selector=selector) == names


@pytest.mark.parametrize("selector", ["app in x", "a=b,,=c", "(x)", "a=b c"])
def test_a_broken_label_selector_is_refused(selector: str) -> None:
    with pytest.raises(errors.ApiStatus) as raised:
        selectors.parse_labels(selector)
    assert raised.value.code == 400


def test_field_selectors_select(cluster: Cluster, three: str) -> None:
    assert _pods(cluster, three, field_selector="metadata.name=b") == ["b"]
    assert _pods(cluster, three, field_selector="status.phase!=Running,spec.nodeName=") == ["a", "b", "c"]


def test_a_field_a_kind_cannot_be_selected_by_is_refused(cluster: Cluster, namespace: str) -> None:
    error = refusal(cluster.core.list_namespaced_pod, namespace, field_selector="spec.replicas=1")
    assert (error.status, "field label not supported" in error.body) == (400, True)


def test_lists_span_namespaces(cluster: Cluster, three: str) -> None:
    found = cluster.core.list_pod_for_all_namespaces(label_selector="app=y").items
    assert three in {p.metadata.namespace for p in found}


def _events(cluster: Cluster, namespace: str, **query: Any) -> list[tuple[str, str]]:
    stream = watch.Watch().stream(cluster.core.list_namespaced_pod, namespace, timeout_seconds=1, **query)
    return [(event["type"], event["object"].metadata.name) for event in stream]


def test_a_watch_replays_what_came_after_its_version(cluster: Cluster, namespace: str) -> None:
    version = cluster.core.list_namespaced_pod(namespace).metadata.resource_version
    cluster.core.create_namespaced_pod(namespace, pod("one", schedulerName="nobody"))
    cluster.core.patch_namespaced_pod("one", namespace, {"metadata": {"labels": {"a": "b"}}})
    cluster.core.delete_namespaced_pod("one", namespace)
    seen = _events(cluster, namespace, resource_version=version)
    assert seen == [("ADDED", "one"), ("MODIFIED", "one"), ("MODIFIED", "one"), ("DELETED", "one")]


def test_a_watch_without_a_version_starts_with_what_is_there(cluster: Cluster, three: str) -> None:
    assert _events(cluster, three) == [("ADDED", name) for name in "abc"]


def test_a_watch_sees_changes_as_they_happen(cluster: Cluster, namespace: str) -> None:
    later = threading.Timer(0.2, cluster.core.create_namespaced_pod, [namespace, pod("late")])
    later.start()
    started = time.monotonic()
    stream = watch.Watch().stream(cluster.core.list_namespaced_pod, namespace, timeout_seconds=10)
    assert next(iter(stream))["object"].metadata.name == "late"
    assert time.monotonic() - started < 5
    later.join()


def test_entering_and_leaving_a_selector_are_added_and_deleted(cluster: Cluster, namespace: str) -> None:
    version = cluster.core.create_namespaced_pod(
        namespace, pod("one", schedulerName="nobody")
    ).metadata.resource_version
    for label in ("x", "y"):
        cluster.core.patch_namespaced_pod("one", namespace, {"metadata": {"labels": {"app": label}}})
    seen = _events(cluster, namespace, resource_version=version, label_selector="app=x")
    assert seen == [("ADDED", "one"), ("DELETED", "one")]


def test_a_watch_of_one_object_sees_no_other(cluster: Cluster, three: str) -> None:
    assert _events(cluster, three, field_selector="metadata.name=c") == [("ADDED", "c")]


def _lines(cluster: Cluster, path: str, **query: str) -> list[Any]:
    answer = cluster.raw("GET", path, query={"watch": "true", "timeoutSeconds": "1"} | query)
    return [json.loads(line) for line in answer.data.splitlines()]


def test_a_version_of_the_future_times_out(cluster: Cluster) -> None:
    query = {"resourceVersion": "999999999"}
    answer = cluster.raw("GET", "/api/v1/pods", query=query)
    assert (answer.status, "Too large resource version" in answer.json["message"]) == (504, True)


def test_initial_events_end_with_a_bookmark(cluster: Cluster, three: str) -> None:
    query = {
        "sendInitialEvents": "true",
        "allowWatchBookmarks": "true",
        "resourceVersionMatch": "NotOlderThan",
    }
    *added, last = _lines(cluster, f"/api/v1/namespaces/{three}/pods", **query)
    if "RequestWatchProgress is disabled" in last["object"].get("message", ""):
        pytest.skip("the etcd behind this control plane is too old for it")
    assert [event["type"] for event in added] == ["ADDED"] * 3
    assert last["type"] == "BOOKMARK"
    assert last["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
