from __future__ import annotations

from typing import Any

import pytest

from slipway_sandbox.kubernetes import patches
from tests.kubernetes.conftest import Answer, Cluster, config_map, deployment


def _apply(
    cluster: Cluster, namespace: str, body: dict[str, Any], manager: str = "slipway", **query: str
) -> Answer:
    plural = "deployments" if body["kind"] == "Deployment" else "configmaps"
    root = "/apis/apps/v1" if plural == "deployments" else "/api/v1"
    path = f"{root}/namespaces/{namespace}/{plural}/{body['metadata']['name']}"
    return cluster.raw("PATCH", path, body, {"fieldManager": manager} | query, content_type=patches.APPLY)


def _managers(answer: Answer) -> dict[str, Any]:
    return {entry["manager"]: entry["fieldsV1"] for entry in answer.json["metadata"]["managedFields"]}


def test_apply_creates_then_changes(cluster: Cluster, namespace: str) -> None:
    first = _apply(cluster, namespace, config_map(a="1"))
    second = _apply(cluster, namespace, config_map(a="2"))
    assert (first.status, second.status, second.json["data"]) == (201, 200, {"a": "2"})


def test_yaml_bodies_are_applied(cluster: Cluster, namespace: str) -> None:
    body = b"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: day\ndata:\n  day: '2026-01-01'\n"
    path = f"/api/v1/namespaces/{namespace}/configmaps/day"
    answer = cluster.raw("PATCH", path, body, {"fieldManager": "me"}, content_type=patches.APPLY)
    assert answer.json["data"] == {"day": "2026-01-01"}


def test_the_dynamic_client_applies(cluster: Cluster, namespace: str) -> None:
    deployments = cluster.dynamic().resources.get(api_version="apps/v1", kind="Deployment")
    body = deployment()
    made = deployments.server_side_apply(body=body, name="web", namespace=namespace, field_manager="slipway")
    assert made.metadata.managedFields[0].operation == "Apply"


def test_an_apply_needs_a_field_manager(cluster: Cluster, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps/settings"
    answer = cluster.raw("PATCH", path, config_map(), content_type=patches.APPLY)
    assert (answer.status, "is required for apply patch" in answer.json["message"]) == (422, True)


def test_applying_the_same_twice_keeps_the_version(cluster: Cluster, namespace: str) -> None:
    first, second = (_apply(cluster, namespace, config_map(a="1")) for _ in range(2))
    assert first.json["metadata"]["resourceVersion"] == second.json["metadata"]["resourceVersion"]


def test_managed_fields_name_list_items_by_their_key(cluster: Cluster, namespace: str) -> None:
    fields = _managers(_apply(cluster, namespace, deployment()))["slipway"]
    containers = fields["f:spec"]["f:template"]["f:spec"]["f:containers"]
    assert containers == {'k:{"name":"main"}': {".": {}, "f:name": {}, "f:image": {}}}


def test_another_managers_field_is_a_conflict(cluster: Cluster, namespace: str) -> None:
    _apply(cluster, namespace, config_map(a="1"), "first")
    answer = _apply(cluster, namespace, config_map(a="2"), "second")
    assert (answer.status, answer.json["reason"]) == (409, "Conflict")
    (cause,) = answer.json["details"]["causes"]
    assert (cause["reason"], cause["field"]) == ("FieldManagerConflict", ".data.a")
    assert 'conflict with "first"' in cause["message"]


def test_a_plain_update_takes_ownership(cluster: Cluster, namespace: str) -> None:
    _apply(cluster, namespace, deployment(replicas=1))
    cluster.apps.patch_namespaced_deployment(
        "web", namespace, {"spec": {"replicas": 5}}, field_manager="scaler"
    )
    answer = _apply(cluster, namespace, deployment(replicas=1))
    assert (answer.status, ".spec.replicas" in answer.json["message"]) == (409, True)


def test_scaling_takes_the_replicas_field(cluster: Cluster, namespace: str) -> None:
    _apply(cluster, namespace, deployment(replicas=1))
    cluster.apps.patch_namespaced_deployment_scale(
        "web", namespace, {"spec": {"replicas": 5}}, field_manager="keda"
    )
    answer = _apply(cluster, namespace, deployment(replicas=1))
    assert answer.json["details"]["causes"][0]["field"] == ".spec.replicas"


def test_force_takes_the_field_from_its_owner(cluster: Cluster, namespace: str) -> None:
    _apply(cluster, namespace, config_map(a="1"), "first")
    answer = _apply(cluster, namespace, config_map(a="2"), "second", force="true")
    assert (answer.status, answer.json["data"], list(_managers(answer))) == (200, {"a": "2"}, ["second"])


def test_the_same_value_is_shared(cluster: Cluster, namespace: str) -> None:
    _apply(cluster, namespace, config_map(a="1"), "first")
    answer = _apply(cluster, namespace, config_map(a="1"), "second")
    assert (answer.status, set(_managers(answer))) == (200, {"first", "second"})


def test_a_dropped_field_is_removed(cluster: Cluster, namespace: str) -> None:
    _apply(cluster, namespace, config_map(a="1", b="2"))
    assert _apply(cluster, namespace, config_map(a="1")).json["data"] == {"a": "1"}


def test_a_dropped_field_somebody_else_owns_stays(cluster: Cluster, namespace: str) -> None:
    _apply(cluster, namespace, config_map(a="1", b="2"), "first")
    _apply(cluster, namespace, config_map(b="2"), "second")
    assert _apply(cluster, namespace, config_map(a="1"), "first").json["data"] == {"a": "1", "b": "2"}


def test_a_dropped_probe_goes_with_its_defaults(cluster: Cluster, namespace: str) -> None:
    body = deployment()
    body["spec"]["template"]["spec"]["containers"][0]["livenessProbe"] = {"httpGet": {"port": 80}}
    assert _apply(cluster, namespace, body).status == 201
    answer = _apply(cluster, namespace, deployment())
    assert "livenessProbe" not in answer.json["spec"]["template"]["spec"]["containers"][0]


def test_a_dropped_container_goes_whole(cluster: Cluster, namespace: str) -> None:
    body = deployment()
    body["spec"]["template"]["spec"]["containers"].append({"name": "side", "image": "busybox"})
    _apply(cluster, namespace, body)
    answer = _apply(cluster, namespace, deployment())
    assert [c["name"] for c in answer.json["spec"]["template"]["spec"]["containers"]] == ["main"]


def test_fields_of_others_survive_an_apply(cluster: Cluster, namespace: str) -> None:
    _apply(cluster, namespace, config_map(a="1"))
    cluster.core.patch_namespaced_config_map("settings", namespace, {"data": {"theirs": "x"}})
    assert _apply(cluster, namespace, config_map(a="2")).json["data"] == {"a": "2", "theirs": "x"}


def test_ports_are_told_apart_by_number_and_protocol(cluster: Cluster, namespace: str) -> None:
    body = deployment()
    container = body["spec"]["template"]["spec"]["containers"][0]
    container["ports"] = [{"containerPort": 80}]
    _apply(cluster, namespace, body)
    container["ports"] = [{"containerPort": 80, "name": "http"}]
    ports = _apply(cluster, namespace, body).json["spec"]["template"]["spec"]["containers"][0]["ports"]
    assert ports == [{"containerPort": 80, "protocol": "TCP", "name": "http"}]


def test_a_dry_run_apply_shows_and_stores_nothing(cluster: Cluster, namespace: str) -> None:
    _apply(cluster, namespace, config_map(a="1"))
    shown = _apply(cluster, namespace, config_map(a="2"), dryRun="All")
    stored = cluster.core.read_namespaced_config_map("settings", namespace)
    assert (shown.json["data"], stored.data) == ({"a": "2"}, {"a": "1"})


def test_managed_fields_may_not_be_applied(cluster: Cluster, namespace: str) -> None:
    body = config_map(a="1")
    body["metadata"]["managedFields"] = [{"manager": "x", "operation": "Apply"}]
    answer = _apply(cluster, namespace, body)
    assert (answer.status, answer.json["message"]) == (400, "metadata.managedFields must be nil")


def _partial(**spec: Any) -> dict[str, Any]:
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": spec}


def test_an_intent_owns_only_what_it_names(cluster: Cluster, namespace: str) -> None:
    whole = deployment()
    _apply(cluster, namespace, whole, "owner")
    answer = _apply(cluster, namespace, _partial(replicas=5), "scaler")
    assert (answer.status, _managers(answer)["scaler"]) == (200, {"f:spec": {"f:replicas": {}}})
    again = _apply(cluster, namespace, _partial(minReadySeconds=1), "scaler").json["spec"]
    assert (again["replicas"], again["selector"]) == (1, whole["spec"]["selector"])


def test_a_plain_write_does_not_own_the_status(cluster: Cluster, namespace: str) -> None:
    made = cluster.raw("POST", f"/apis/apps/v1/namespaces/{namespace}/deployments", deployment())
    assert set(made.json["metadata"]["managedFields"][0]["fieldsV1"]) == {"f:spec"}


def test_a_conflict_names_the_owners_version_and_groups_by_owner(cluster: Cluster, namespace: str) -> None:
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments"
    cluster.raw("POST", path, deployment(replicas=1, minReadySeconds=1), {"fieldManager": "hand"})
    one = _apply(cluster, namespace, _partial(replicas=2))
    assert (
        one.json["message"]
        == 'Apply failed with 1 conflict: conflict with "hand" using apps/v1: .spec.replicas'
    )
    two = _apply(cluster, namespace, _partial(replicas=2, minReadySeconds=2))
    assert two.json["message"] == (
        'Apply failed with 2 conflicts: conflicts with "hand" using apps/v1:\n- .spec.minReadySeconds\n- .spec.replicas'
    )
    assert {cause["reason"] for cause in two.json["details"]["causes"]} == {"FieldManagerConflict"}


_PORTS = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}}


@pytest.mark.parametrize(
    ("body", "status", "why"),
    [
        (_partial(extra=1), 500, ".spec.extra: field not declared in schema"),
        (_partial(replicas="x"), 500, "cannot unmarshal string into"),
        (_PORTS | {"spec": {"ports": [{"name": "a"}]}}, 422, "must be between 1 and 65535"),
        (_PORTS | {"spec": {"ports": "x"}}, 500, "cannot unmarshal string into"),
        ({"spec": {}}, 400, "Incorrect version specified in apply patch"),
        (_partial() | {"metadata": {"name": "other"}}, 400, "does not match the name on the URL"),
        (_partial() | {"metadata": {"name": "web", "namespace": "x"}}, 400, "does not match the namespace"),
    ],
)
def test_an_intent_that_does_not_fit_is_refused(
    cluster: Cluster, namespace: str, body: dict[str, Any], status: int, why: str
) -> None:
    service = body.get("kind") == "Service"
    root = (
        f"/api/v1/namespaces/{namespace}/services"
        if service
        else f"/apis/apps/v1/namespaces/{namespace}/deployments"
    )
    answer = cluster.raw("PATCH", f"{root}/web", body, {"fieldManager": "m"}, content_type=patches.APPLY)
    assert (answer.status, why in answer.json["message"]) == (status, True)
