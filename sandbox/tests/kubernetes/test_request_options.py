"""Options that do not exist or do not go together, and bodies that are read strictly."""

from __future__ import annotations

import json
from typing import Any

import pytest

from slipway_sandbox.kubernetes import patches
from tests.kubernetes.conftest import Cluster, config_map, deployment, ours_only, pod

_WRONG_LISTS: list[tuple[dict[str, str], int, str]] = [
    ({"resourceVersionMatch": "Exact"}, 422, "forbidden unless resourceVersion is provided"),
    ({"resourceVersionMatch": "Newest", "resourceVersion": "1"}, 422, 'Unsupported value: "Newest"'),
    ({"resourceVersionMatch": "Exact", "resourceVersion": "0"}, 422, 'is forbidden for resourceVersion "0"'),
    ({"resourceVersion": "abc"}, 400, 'parsing "abc": invalid syntax'),
    ({"resourceVersion": "999999999"}, 504, "Too large resource version"),
    ({"sendInitialEvents": "true"}, 422, "sendInitialEvents is forbidden for list"),
    ({"watch": "true", "sendInitialEvents": "true"}, 422, "requires setting resourceVersionMatch"),
    (
        {"watch": "true", "resourceVersionMatch": "NotOlderThan"},
        422,
        "forbidden for watch unless sendInitialEvents",
    ),
    ({"watch": "true", "timeoutSeconds": "soon"}, 400, 'parsing "soon": invalid syntax'),
    ({"labelSelector": "a in x"}, 400, "found 'x' expected: '('"),
    ({"labelSelector": "a=b,,c"}, 400, "found ',', expected: identifier after ','"),
    ({"limit": "x"}, 400, 'parsing "x": invalid syntax'),
]


@pytest.mark.parametrize(("query", "status", "message"), _WRONG_LISTS)
def test_options_of_a_list_that_do_not_go_together(
    cluster: Cluster, query: dict[str, str], status: int, message: str
) -> None:
    answer = cluster.raw("GET", "/api/v1/pods", query=query)
    assert (answer.status, message in answer.json["message"]) == (status, True)


def test_a_page_token_and_a_version_exclude_each_other(cluster: Cluster, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    for name in ("a", "b"):
        cluster.core.create_namespaced_config_map(namespace, config_map(name))
    token = cluster.raw("GET", path, query={"limit": "1"}).json["metadata"]["continue"]
    answer = cluster.raw("GET", path, query={"continue": token, "resourceVersion": "1"})
    assert (answer.status, "not allowed when using continue" in answer.json["message"]) == (400, True)


@pytest.mark.parametrize(("selector", "found"), [("size>5", ["big"]), ("size<5", ["small"]), ("size>50", [])])
def test_labels_are_compared_as_numbers(
    cluster: Cluster, namespace: str, selector: str, found: list[str]
) -> None:
    for name, size in (("small", "3"), ("big", "10"), ("odd", "x")):
        cluster.core.create_namespaced_pod(namespace, pod(name, labels={"size": size}))
    pods = cluster.core.list_namespaced_pod(namespace, label_selector=selector).items
    assert [p.metadata.name for p in pods] == found


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"dryRun": "Some"}, 'dryRun: Unsupported value: ["Some"]'),
        ({"fieldValidation": "Some"}, 'fieldValidation: Unsupported value: "Some"'),
        ({"fieldManager": "m" * 129}, "fieldManager: Too long"),
    ],
)
def test_options_of_a_write_that_do_not_exist(
    cluster: Cluster, namespace: str, query: dict[str, str], message: str
) -> None:
    answer = cluster.raw("POST", f"/api/v1/namespaces/{namespace}/configmaps", config_map(), query)
    assert (answer.status, message in answer.json["message"]) == (422, True)
    assert answer.json["details"]["kind"] == "CreateOptions"


def test_only_an_apply_is_forced(cluster: Cluster, namespace: str) -> None:
    cluster.core.create_namespaced_config_map(namespace, config_map())
    path = f"/api/v1/namespaces/{namespace}/configmaps/settings"
    answer = cluster.raw("PATCH", path, {"data": {}}, {"force": "true"}, content_type=patches.MERGE)
    assert (answer.status, "may not be specified for non-apply patch" in answer.json["message"]) == (
        422,
        True,
    )


def test_namespaces_are_not_deleted_as_a_collection(cluster: Cluster) -> None:
    assert cluster.raw("DELETE", "/api/v1/namespaces").status == 405
    found = cluster.raw("GET", "/api/v1").json["resources"]
    assert "deletecollection" not in next(r["verbs"] for r in found if r["name"] == "namespaces")


_TWICE_IN_YAML = b"metadata: {name: twice}\ndata:\n  a: '1'\n  a: '2'\n"
_TWICE = b'{"metadata":{"name":"twice"},"data":{"a":"1","a":"2"}}'


@pytest.mark.parametrize(
    ("body", "media_type", "why"),
    [
        (_TWICE, "application/json", 'duplicate field "data.a"'),
        (_TWICE_IN_YAML, "application/yaml", 'line 4: key "a" already set in map'),
    ],
)
def test_a_key_written_twice_is_seen(
    cluster: Cluster, namespace: str, body: bytes, media_type: str, why: str
) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    strict = cluster.raw("POST", path, body, {"fieldValidation": "Strict"}, content_type=media_type)
    assert (strict.status, why in strict.json["message"]) == (400, True)
    lenient = cluster.raw("POST", path, body, content_type=media_type)
    assert (lenient.status, lenient.json["data"]) == (201, {"a": "2"})
    assert why.replace('"', '\\"') in str(lenient.headers["Warning"])


@pytest.mark.parametrize(
    ("patch", "kind", "query", "why"),
    [
        ({"spec": {"replicas": "x"}}, patches.MERGE, {}, "cannot unmarshal string"),
        ({"spec": {"replicas": "x"}}, patches.STRATEGIC, {}, '"map[spec:map[replicas:x]]"'),
        ({"kind": "Secret"}, patches.MERGE, {}, 'no kind "Secret" is registered for version "apps/v1"'),
        (
            {"spec": {"extra": 1}},
            patches.STRATEGIC,
            {"fieldValidation": "Strict"},
            'unknown field "spec.extra"',
        ),
        (
            [{"op": "add", "path": "/spec/extra", "value": 1}],
            patches.JSON,
            {"fieldValidation": "Strict"},
            'unknown field "spec.extra"',
        ),
    ],
)
def test_a_patch_that_cannot_be_decoded_is_invalid(
    cluster: Cluster, namespace: str, patch: Any, kind: str, query: dict[str, str], why: str
) -> None:
    cluster.apps.create_namespaced_deployment(namespace, deployment())
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments/web"
    answer = cluster.raw("PATCH", path, patch, query, content_type=kind)
    assert (answer.status, answer.json["reason"]) == (422, "Invalid")
    (cause,) = answer.json["details"]["causes"]
    assert (cause["field"], why in cause["message"]) == ("patch", True)


def test_a_replacement_names_its_object(cluster: Cluster, namespace: str) -> None:
    cluster.core.create_namespaced_config_map(namespace, config_map())
    answer = cluster.raw("PUT", f"/api/v1/namespaces/{namespace}/configmaps/settings", {"metadata": {}})
    assert (answer.status, "undeterminable" in answer.json["message"]) == (400, True)


def test_a_uid_is_not_patched(cluster: Cluster, namespace: str) -> None:
    cluster.core.create_namespaced_config_map(namespace, config_map())
    path = f"/api/v1/namespaces/{namespace}/configmaps/settings"
    answer = cluster.raw("PATCH", path, {"metadata": {"uid": "x"}}, content_type=patches.MERGE)
    assert (answer.status, answer.json["details"]["causes"][0]["field"]) == (422, "metadata.uid")


@ours_only("kinds that are absent by choice")
@pytest.mark.parametrize(
    "path",
    [
        "/apis/batch/v1/cronjobs",
        "/apis/autoscaling/v2/horizontalpodautoscalers",
        "/apis/networking.k8s.io/v1/ingresses",
        "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations",
        "/apis/apiregistration.k8s.io/v1/apiservices",
        "/api/v1/resourcequotas",
    ],
)
def test_kinds_that_nothing_here_implements_are_absent(cluster: Cluster, path: str) -> None:
    answer = cluster.raw("GET", path)
    assert answer.status == 404
    *prefix, plural = path.split("/")
    served = cluster.raw("GET", "/".join(prefix))
    assert served.status == 404 or plural not in {r["name"] for r in served.json["resources"]}


@ours_only("no definitions in OpenAPI v2, by choice")
def test_openapi_v2_is_there_and_says_nothing_of_kinds(cluster: Cluster) -> None:
    assert json.loads(cluster.raw("GET", "/openapi/v2").data)["definitions"] == {}
