from __future__ import annotations

import json
import time
from typing import Any

import pytest
from kubernetes import client

from slipway_sandbox.faults import Faults
from tests.kubernetes.conftest import Answer, Cluster, config_map, deployment, ours_only, pod, refusal


def _container(**changes: Any) -> dict[str, Any]:
    return pod(containers=[{"name": "main", "image": "busybox"} | changes])


def _posted(cluster: Cluster, namespace: str, plural: str, body: Any, **query: str) -> Answer:
    """POST without the client's own validation of bodies."""
    root = "/apis/apps/v1" if plural == "deployments" else "/api/v1"
    return cluster.raw("POST", f"{root}/namespaces/{namespace}/{plural}", body, query)


@ours_only("a client certificate lets in whatever the token says")
def test_an_unknown_token_is_unauthorized(cluster: Cluster) -> None:
    answer = cluster.raw("GET", "/api/v1/namespaces", authorization="Bearer wrong")
    assert (answer.status, answer.json["kind"], answer.json["reason"]) == (401, "Status", "Unauthorized")


@pytest.mark.parametrize("path", ["/healthz", "/livez", "/readyz"])
def test_health_answers_ok_even_to_strangers(cluster: Cluster, path: str) -> None:
    answer = cluster.raw("GET", path, authorization="Bearer wrong")
    assert (answer.status, answer.data) == (200, b"ok")


def test_a_resource_that_is_not_served_is_404(cluster: Cluster) -> None:
    answer = cluster.raw("GET", "/apis/keda.sh/v1alpha1/namespaces/default/scaledobjects")
    assert (answer.status, answer.data) == (404, b"404 page not found\n")


def test_a_resource_its_group_does_not_have_is_404(cluster: Cluster) -> None:
    answer = cluster.raw("GET", "/api/v1/things")
    assert (answer.status, answer.json["message"]) == (
        404,
        "the server could not find the requested resource",
    )


def test_a_method_a_path_does_not_know_is_405(cluster: Cluster, namespace: str) -> None:
    answer = cluster.raw("PUT", f"/api/v1/namespaces/{namespace}/configmaps", config_map())
    assert (answer.status, answer.json["reason"]) == (405, "MethodNotAllowed")


def test_another_media_type_is_415(cluster: Cluster, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    answer = cluster.raw("POST", path, b"x", content_type="text/plain")
    assert (answer.status, answer.json["reason"]) == (415, "UnsupportedMediaType")


def test_a_body_that_is_no_json_is_a_bad_request(cluster: Cluster, namespace: str) -> None:
    answer = cluster.raw("POST", f"/api/v1/namespaces/{namespace}/configmaps", b"{")
    assert (answer.status, answer.json["reason"]) == (400, "BadRequest")


def test_a_body_of_another_kind_is_a_bad_request(cluster: Cluster, namespace: str) -> None:
    answer = _posted(cluster, namespace, "configmaps", deployment())
    assert (answer.status, answer.json["reason"]) == (400, "BadRequest")


def test_a_number_where_a_string_belongs_is_a_bad_request(cluster: Cluster, namespace: str) -> None:
    answer = _posted(cluster, namespace, "pods", _container(env=[{"name": "A", "value": 1}]))
    assert answer.status == 400
    assert "cannot unmarshal number into" in answer.json["message"]


def test_unknown_fields_are_dropped_where_nobody_asked_for_strictness(
    cluster: Cluster, namespace: str
) -> None:
    answer = _posted(cluster, namespace, "deployments", deployment(replica=3))
    assert "replica" not in answer.json["spec"]


def test_strict_validation_refuses_unknown_fields(cluster: Cluster, namespace: str) -> None:
    answer = _posted(cluster, namespace, "deployments", deployment(replica=3), fieldValidation="Strict")
    assert answer.status == 400
    assert 'strict decoding error: unknown field "spec.replica"' in answer.json["message"]


_WRONG_PODS = {
    "spec.containers": pod(containers=[]),
    "spec.containers[0].image": _container(image=""),
    "spec.containers[0].name": _container(name="Not_A_Label"),
    "spec.containers[0].volumeMounts[0].name": _container(
        volumeMounts=[{"name": "ghost", "mountPath": "/x"}]
    ),
    "spec.containers[0].ports[0].containerPort": _container(ports=[{"containerPort": 70000}]),
    "spec.containers[0].readinessProbe": _container(readinessProbe={"periodSeconds": 3}),
    "spec.containers[0].livenessProbe.successThreshold": _container(
        livenessProbe={"tcpSocket": {"port": 80}, "successThreshold": 2}
    ),
    "spec.containers[0].resources.limits": _container(resources={"requests": {"nvidia.com/gpu": "1"}}),
    "spec.containers[0].resources.limits[nvidia.com/gpu]": _container(
        resources={"limits": {"nvidia.com/gpu": "0.5"}}
    ),
    "spec.containers[0].resources.requests": _container(
        resources={"limits": {"memory": "1Gi"}, "requests": {"memory": "2Gi"}}
    ),
    "spec.tolerations[0].operator": pod(tolerations=[{"key": "gpu", "operator": "Is"}]),
    "spec.volumes[1].name": pod(volumes=[{"name": "a", "emptyDir": {}}, {"name": "a", "emptyDir": {}}]),
    "metadata.labels": pod(labels={"app": "not a label value"}),
}


@pytest.mark.parametrize("field", sorted(_WRONG_PODS))
def test_an_invalid_pod_names_the_field(cluster: Cluster, namespace: str, field: str) -> None:
    answer = _posted(cluster, namespace, "pods", _WRONG_PODS[field])
    assert (answer.status, answer.json["reason"]) == (422, "Invalid")
    assert field in [cause["field"] for cause in answer.json["details"]["causes"]]


def test_a_selector_that_misses_the_template_is_invalid(cluster: Cluster, namespace: str) -> None:
    body = deployment(selector={"matchLabels": {"app": "other"}})
    error = refusal(cluster.apps.create_namespaced_deployment, namespace, body)
    assert "`selector` does not match template `labels`" in error.body


def test_a_deployment_selector_is_immutable(cluster: Cluster, namespace: str) -> None:
    cluster.apps.create_namespaced_deployment(namespace, deployment())
    changed = deployment("web")
    changed["spec"]["selector"]["matchLabels"] = {"tier": "x"}
    changed["spec"]["template"]["metadata"]["labels"] = {"tier": "x"}
    error = refusal(cluster.apps.replace_namespaced_deployment, "web", namespace, changed)
    assert (error.status, "field is immutable" in error.body) == (422, True)


def test_no_surge_and_nothing_unavailable_is_invalid(cluster: Cluster, namespace: str) -> None:
    strategy = {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 0}}
    error = refusal(cluster.apps.create_namespaced_deployment, namespace, deployment(strategy=strategy))
    assert "may not be 0 when `maxSurge` is 0" in error.body


def test_a_job_template_is_immutable(cluster: Cluster, namespace: str) -> None:
    batch = client.BatchV1Api(cluster.api)
    template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "busybox"}]}}
    batch.create_namespaced_job(namespace, {"metadata": {"name": "warm"}, "spec": {"template": template}})
    patch = {"spec": {"template": {"spec": {"containers": [{"name": "main", "image": "other"}]}}}}
    error = refusal(batch.patch_namespaced_job, "warm", namespace, patch)
    assert (error.status, "spec.template" in error.body) == (422, True)


def test_a_job_that_always_restarts_is_invalid(cluster: Cluster, namespace: str) -> None:
    template = {"spec": {"containers": [{"name": "main", "image": "busybox"}]}}
    body = {"metadata": {"name": "warm"}, "spec": {"template": template}}
    error = refusal(client.BatchV1Api(cluster.api).create_namespaced_job, namespace, body)
    assert 'Required value: valid values: \\"OnFailure\\", \\"Never\\"' in error.body


def test_a_running_pod_may_not_change_its_command(cluster: Cluster, namespace: str) -> None:
    cluster.core.create_namespaced_pod(namespace, pod())
    patch = {"spec": {"containers": [{"name": "main", "command": ["sleep"]}]}}
    assert refusal(cluster.core.patch_namespaced_pod, "one", namespace, patch).status == 422


def test_a_claim_may_not_shrink(cluster: Cluster, namespace: str) -> None:
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "10Gi"}}}
    cluster.core.create_namespaced_persistent_volume_claim(
        namespace, {"metadata": {"name": "w"}, "spec": spec}
    )
    patch = {"spec": {"resources": {"requests": {"storage": "5Gi"}}}}
    error = refusal(cluster.core.patch_namespaced_persistent_volume_claim, "w", namespace, patch)
    assert "spec is immutable after creation except resources.requests" in error.body


def test_an_immutable_config_map_stays(cluster: Cluster, namespace: str) -> None:
    cluster.core.create_namespaced_config_map(namespace, config_map(a="1") | {"immutable": True})
    error = refusal(cluster.core.patch_namespaced_config_map, "settings", namespace, {"data": {"a": "2"}})
    assert (error.status, "field is immutable when `immutable` is set" in error.body) == (422, True)


def test_a_body_above_three_mebibytes_is_413(cluster: Cluster, namespace: str) -> None:
    error = refusal(cluster.core.create_namespaced_config_map, namespace, config_map(a="x" * (3 << 20)))
    assert error.status == 413


def test_the_conflict_fault_strikes_updates_of_its_target(
    cluster: Cluster, namespace: str, fault: Faults
) -> None:
    cluster.core.create_namespaced_config_map(namespace, config_map(a="1"))
    fault.set("api-conflict", target="configmaps/settings", count=1)
    patch = {"data": {"a": "2"}}
    assert refusal(cluster.core.patch_namespaced_config_map, "settings", namespace, patch).status == 409
    assert cluster.core.patch_namespaced_config_map("settings", namespace, patch).data == {"a": "2"}


def test_the_500_fault_strikes_its_method_and_resource(
    cluster: Cluster, namespace: str, fault: Faults
) -> None:
    fault.set("api-500", target="GET configmaps", count=1)
    cluster.core.list_namespaced_pod(namespace)
    error = refusal(cluster.core.list_namespaced_config_map, namespace)
    assert (error.status, json.loads(error.body)["reason"]) == (500, "InternalError")


def test_the_slow_fault_holds_back_its_method_and_resource_and_nothing_else(
    cluster: Cluster, namespace: str, fault: Faults
) -> None:
    fault.set("api-slow", target="POST configmaps", value=0.2, count=1)
    began = time.monotonic()
    cluster.core.create_namespaced_config_map(namespace, config_map(a="1"))
    assert time.monotonic() - began >= 0.2
    assert fault.active() == []


@pytest.mark.parametrize(
    ("metadata", "called"),
    [
        ({"name": "one"}, "one"),
        ({"generateName": "web-", "name": "web-0"}, "web-0"),
        ({"generateName": "web-"}, "web-"),
    ],
)
def test_a_pod_is_refused_by_the_name_it_came_with(
    cluster: Cluster, namespace: str, metadata: dict[str, str], called: str
) -> None:
    body = pod(serviceAccountName="nope") | {"metadata": metadata}
    answer = _posted(cluster, namespace, "pods", body)
    assert answer.status == 403
    assert answer.json["message"] == (
        f'pods "{called}" is forbidden: error looking up service account {namespace}/nope: serviceaccount "nope" not found'
    )
    assert answer.json["details"]["name"] == called
