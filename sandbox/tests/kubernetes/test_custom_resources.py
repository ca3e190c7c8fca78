from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from slipway_sandbox.kubernetes import patches
from tests.kubernetes.conftest import Cluster, refusal, wait_until

_SPEC = {
    "type": "object",
    "required": ["image"],
    "properties": {
        "image": {"type": "string", "minLength": 1},
        "replicas": {"type": "integer", "minimum": 0, "default": 1},
        "mode": {"type": "string", "enum": ["fast", "slow"]},
        "port": {"x-kubernetes-int-or-string": True},
        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        "items": {
            "type": "array",
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["name"],
            "items": {
                "type": "object",
                "required": ["name"],
                "properties": {"name": {"type": "string"}, "value": {"type": "string"}},
            },
        },
    },
}
_STATUS = {"type": "object", "properties": {"replicas": {"type": "integer"}, "selector": {"type": "string"}}}
_SCHEMA = {"type": "object", "properties": {"spec": _SPEC, "status": _STATUS}}
_VERSION = {
    "name": "v1",
    "served": True,
    "storage": True,
    "schema": {"openAPIV3Schema": _SCHEMA},
    "subresources": {"status": {}},
}
_DEFINITION = {
    "metadata": {"name": "engines.example.com"},
    "spec": {
        "group": "example.com",
        "scope": "Namespaced",
        "names": {"plural": "engines", "kind": "Engine", "shortNames": ["eng"]},
        "versions": [_VERSION],
    },
}


@pytest.fixture(scope="module")
def engines(cluster: Cluster) -> Iterator[None]:
    cluster.define(_DEFINITION)
    yield
    cluster.extensions.delete_custom_resource_definition("engines.example.com")
    wait_until(lambda: cluster.raw("GET", "/apis/example.com/v1/engines").status == 404)


def _engine(name: str = "one", **spec: Any) -> dict[str, Any]:
    metadata = {"name": name}
    return {
        "apiVersion": "example.com/v1",
        "kind": "Engine",
        "metadata": metadata,
        "spec": {"image": "x"} | spec,
    }


def _path(namespace: str, name: str = "") -> str:
    return f"/apis/example.com/v1/namespaces/{namespace}/engines" + (f"/{name}" if name else "")


def _create(cluster: Cluster, namespace: str, body: dict[str, Any], **query: str) -> Any:
    return cluster.raw("POST", _path(namespace), body, query)


def test_a_kind_is_unknown_until_its_definition_exists(cluster: Cluster) -> None:
    assert cluster.raw("GET", "/apis/other.example.com/v1/things").status == 404


@pytest.mark.usefixtures("engines")
class TestEngines:
    def test_the_definition_is_established(self, cluster: Cluster) -> None:
        status = cluster.extensions.read_custom_resource_definition("engines.example.com").status
        assert {(c.type, c.status) for c in status.conditions} == {
            ("NamesAccepted", "True"),
            ("Established", "True"),
        }
        assert status.stored_versions == ["v1"]

    def test_defaults_of_the_schema_are_filled_in(self, cluster: Cluster, namespace: str) -> None:
        made = _create(cluster, namespace, _engine()).json
        assert (made["spec"]["replicas"], made["metadata"]["generation"]) == (1, 1)

    def test_unknown_fields_are_pruned(self, cluster: Cluster, namespace: str) -> None:
        made = _create(cluster, namespace, _engine(colour="red", free={"any": "thing"}))
        assert made.json["spec"] == {"image": "x", "free": {"any": "thing"}, "replicas": 1}

    def test_strict_validation_refuses_unknown_fields(self, cluster: Cluster, namespace: str) -> None:
        answer = _create(cluster, namespace, _engine(colour="red"), fieldValidation="Strict")
        assert (answer.status, 'unknown field "spec.colour"' in answer.json["message"]) == (400, True)

    @pytest.mark.parametrize(
        ("field", "spec"),
        [
            ("spec.replicas", {"replicas": "two"}),
            ("spec.replicas", {"replicas": -1}),
            ("spec.mode", {"mode": "warp"}),
            ("spec.port", {"port": 1.5}),
            ("spec.image", {"image": ""}),
            ("spec.items[0].value", {"items": [{"name": "a", "value": 3}]}),
        ],
    )
    def test_the_schema_is_enforced(
        self, cluster: Cluster, namespace: str, field: str, spec: dict[str, Any]
    ) -> None:
        answer = _create(cluster, namespace, _engine(**spec))
        assert (answer.status, answer.json["reason"]) == (422, "Invalid")
        assert answer.json["details"]["causes"][0]["field"] == field

    def test_a_custom_object_must_say_what_it_is(self, cluster: Cluster, namespace: str) -> None:
        answer = _create(cluster, namespace, {"metadata": {"name": "one"}, "spec": {"image": "x"}})
        assert answer.status == 400

    def test_a_required_field_is_required(self, cluster: Cluster, namespace: str) -> None:
        answer = _create(cluster, namespace, _engine() | {"spec": {}})
        assert "spec.image: Required value" in answer.json["message"]

    def test_status_is_a_subresource(self, cluster: Cluster, namespace: str) -> None:
        _create(cluster, namespace, _engine() | {"status": {"replicas": 3}})
        patch, path = {"status": {"replicas": 2}}, _path(namespace, "one")
        ignored = cluster.raw("PATCH", path, patch, content_type=patches.MERGE).json
        taken = cluster.raw("PATCH", path + "/status", patch, content_type=patches.MERGE).json
        assert ("status" in ignored, taken["status"], taken["metadata"]["generation"]) == (
            False,
            {"replicas": 2},
            1,
        )

    def test_a_strategic_merge_is_415(self, cluster: Cluster, namespace: str) -> None:
        _create(cluster, namespace, _engine())
        answer = cluster.raw("PATCH", _path(namespace, "one"), {}, content_type=patches.STRATEGIC)
        assert answer.status == 415

    def test_apply_merges_keyed_lists(self, cluster: Cluster, namespace: str) -> None:
        for manager in ("a", "b"):
            body = _engine(items=[{"name": manager, "value": manager}])
            query = {"fieldManager": manager}
            answer = cluster.raw("PATCH", _path(namespace, "one"), body, query, content_type=patches.APPLY)
        assert [item["name"] for item in answer.json["spec"]["items"]] == ["a", "b"]

    def test_items_of_a_custom_list_carry_their_kind(self, cluster: Cluster, namespace: str) -> None:
        _create(cluster, namespace, _engine())
        answer = cluster.raw("GET", _path(namespace)).json
        assert (answer["kind"], answer["items"][0]["kind"]) == ("EngineList", "Engine")

    def test_the_table_has_a_name_and_an_age(self, cluster: Cluster, namespace: str) -> None:
        _create(cluster, namespace, _engine())
        accept = "application/json;as=Table;v=v1;g=meta.k8s.io"
        table = cluster.raw("GET", _path(namespace), accept=accept).json
        assert [c["name"] for c in table["columnDefinitions"]] == ["Name", "Age"]
        assert table["rows"][0]["cells"][0] == "one"

    def test_the_custom_objects_client_works(self, cluster: Cluster, namespace: str) -> None:
        cluster.custom.create_namespaced_custom_object("example.com", "v1", namespace, "engines", _engine())
        found = cluster.custom.get_namespaced_custom_object("example.com", "v1", namespace, "engines", "one")
        assert found["spec"]["image"] == "x"


def test_deleting_a_definition_takes_its_objects(cluster: Cluster, namespace: str) -> None:
    names = {"plural": "things", "kind": "Thing"}
    spec = _DEFINITION["spec"] | {"group": "gone.example.com", "names": names}  # type: ignore[operator]
    definition = {"metadata": {"name": "things.gone.example.com"}, "spec": spec}
    cluster.define(definition)
    path = f"/apis/gone.example.com/v1/namespaces/{namespace}/things"
    held = {"metadata": {"name": "held", "finalizers": ["example.com/hold"]}, "spec": {"image": "x"}}
    held |= {"apiVersion": "gone.example.com/v1", "kind": "Thing"}
    assert cluster.raw("POST", path, held).status == 201
    cluster.extensions.delete_custom_resource_definition("things.gone.example.com")
    terminating = cluster.extensions.read_custom_resource_definition("things.gone.example.com")
    assert terminating.metadata.deletion_timestamp is not None
    patch: dict[str, Any] = {"metadata": {"finalizers": []}}
    assert cluster.raw("PATCH", f"{path}/held", patch, content_type=patches.MERGE).status == 200
    gone = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/things.gone.example.com"
    wait_until(lambda: cluster.raw("GET", gone).status == 404)


def test_a_definition_must_be_named_for_its_resource(cluster: Cluster) -> None:
    definition = _DEFINITION | {"metadata": {"name": "wrong.example.com"}}
    assert refusal(cluster.extensions.create_custom_resource_definition, definition).status == 422
