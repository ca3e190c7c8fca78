"""Structural schemas at work: what is pruned, defaulted and refused of custom objects."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from slipway_sandbox.kubernetes import patches
from tests.kubernetes.conftest import Answer, Cluster, wait_until

_DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
_KEYED = {
    "type": "array",
    "x-kubernetes-list-type": "map",
    "x-kubernetes-list-map-keys": ["name"],
    "items": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}},
}
_SPEC = {
    "type": "object",
    "properties": {
        "size": {"type": "integer", "minimum": 1},
        "word": {"type": "string", "pattern": "^a+$", "maxLength": 3},
        "color": {"type": "string", "enum": ["red", "blue"], "default": "red"},
        "note": {"type": "string", "nullable": True},
        "when": {"type": "string", "format": "date-time"},
        "keyed": _KEYED,
        "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
        "few": {"type": "array", "maxItems": 1, "items": {"type": "string"}},
    },
}
_SCHEMA = {
    "type": "object",
    "properties": {"spec": _SPEC, "status": {"type": "object", "properties": {"phase": {"type": "string"}}}},
}


def _definition(group: str, schema: Any = _SCHEMA, **version: Any) -> dict[str, Any]:
    first = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}} | version
    names = {"plural": "widgets", "kind": "Widget"}
    return {
        "metadata": {"name": f"widgets.{group}"},
        "spec": {"group": group, "scope": "Namespaced", "names": names, "versions": [first]},
    }


@pytest.fixture(scope="module")
def group(cluster: Cluster) -> Iterator[str]:
    name = "structural.example.com"
    cluster.define(_definition(name))
    yield name
    cluster.raw("DELETE", f"{_DEFINITIONS}/widgets.{name}")


def _make(cluster: Cluster, group: str, namespace: str, spec: Any) -> Answer:
    path = f"/apis/{group}/v1/namespaces/{namespace}/widgets"
    kind = {"apiVersion": f"{group}/v1", "kind": "Widget"}
    return cluster.raw("POST", path, kind | {"metadata": {"name": "w"}, "spec": spec})


@pytest.mark.parametrize(
    ("spec", "field", "reason", "why"),
    [
        ({"size": 0}, "spec.size", "FieldValueInvalid", "spec.size in body should be greater than or equal to 1"),
        ({"size": "x"}, "spec.size", "FieldValueTypeInvalid", 'must be of type integer: "string"'),
        ({"word": "b"}, "spec.word", "FieldValueInvalid", "spec.word in body should match '^a+$'"),
        ({"word": "aaaa"}, "spec.word", "FieldValueTooLong", "may not be more than 3 bytes"),
        ({"color": "green"}, "spec.color", "FieldValueNotSupported", 'supported values: "red", "blue"'),
        ({"when": "soon"}, "spec.when", "FieldValueTypeInvalid", "must be of type date-time"),
        ({"keyed": [{"name": "a"}, {"name": "a"}]}, "spec.keyed[1]", "FieldValueDuplicate", '{"name":"a"}'),
        ({"keyed": [{}]}, "spec.keyed[0].name", "FieldValueRequired", "Required value"),
        ({"set": ["a", "a"]}, "spec.set[1]", "FieldValueDuplicate", '"a"'),
        ({"few": ["a", "b"]}, "spec.few", "FieldValueTooMany", "must have at most 1 item"),
    ],
)  # fmt: skip
def test_a_custom_object_is_refused_for(
    cluster: Cluster, group: str, namespace: str, spec: Any, field: str, reason: str, why: str
) -> None:
    answer = _make(cluster, group, namespace, spec)
    (cause,) = answer.json["details"]["causes"]
    assert (answer.status, cause["field"], cause["reason"]) == (422, field, reason)
    assert why in cause["message"]


def test_a_null_stays_only_where_it_may(cluster: Cluster, group: str, namespace: str) -> None:
    answer = _make(cluster, group, namespace, {"note": None, "word": None, "color": None})
    assert (answer.status, answer.json["spec"]) == (201, {"note": None, "color": "red"})


def test_a_status_without_its_own_endpoint_counts_as_content(
    cluster: Cluster, group: str, namespace: str
) -> None:
    _make(cluster, group, namespace, {})
    path = f"/apis/{group}/v1/namespaces/{namespace}/widgets/w"
    patch = {"status": {"phase": "Done"}}
    changed = cluster.raw("PATCH", path, patch, content_type=patches.MERGE).json
    assert (changed["metadata"]["generation"], changed["status"]) == (2, {"phase": "Done"})


def test_a_definition_goes_with_its_last_object(cluster: Cluster, namespace: str) -> None:
    group = "going.example.com"
    cluster.define(_definition(group))
    path = f"/apis/{group}/v1/namespaces/{namespace}/widgets"
    held = {"metadata": {"name": "held", "finalizers": ["example.com/hold"]}}
    cluster.raw("POST", path, held | {"apiVersion": f"{group}/v1", "kind": "Widget"})
    cluster.raw("DELETE", f"{_DEFINITIONS}/widgets.{group}")
    assert cluster.raw("GET", f"{_DEFINITIONS}/widgets.{group}").status == 200
    cluster.raw("PATCH", f"{path}/held", {"metadata": {"finalizers": None}}, content_type=patches.MERGE)
    wait_until(lambda: cluster.raw("GET", f"{_DEFINITIONS}/widgets.{group}").status == 404)
    wait_until(lambda: cluster.raw("GET", path).status == 404)
