"""What kube-apiserver refuses of a body that is well formed: tables of one wrong field each, and that field's path."""

from __future__ import annotations

from typing import Any

import pytest

from slipway_sandbox.kubernetes import patches
from tests.kubernetes.conftest import Answer, Cluster, deployment

_FIELD_REF = {"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.nope"}}}
_VOLUME = {"volumes": [{"name": "v", "emptyDir": {}}]}
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"


def _node_affinity(*terms: Any) -> dict[str, Any]:
    return {"affinity": {"nodeAffinity": {_REQUIRED: {"nodeSelectorTerms": list(terms)}}}}


def _expression(operator: str, **more: Any) -> dict[str, Any]:
    return {"matchExpressions": [{"key": "zone", "operator": operator} | more]}


_TERMS = f"spec.affinity.nodeAffinity.{_REQUIRED}.nodeSelectorTerms"
_PODS: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({"dnsPolicy": "X"}, {}, "spec.dnsPolicy"),
    ({"activeDeadlineSeconds": 0}, {}, "spec.activeDeadlineSeconds"),
    ({}, {"env": [_FIELD_REF]}, "spec.containers[0].env[0].valueFrom.fieldRef.fieldPath"),
    (_VOLUME, {"volumeMounts": [{"name": "v", "mountPath": ""}]}, "spec.containers[0].volumeMounts[0].mountPath"),
    ({"volumes": [{"name": "v", "emptyDir": {"sizeLimit": "-1"}}]}, {}, "spec.volumes[0].emptyDir.sizeLimit"),
    (_node_affinity(), {}, _TERMS),
    (_node_affinity(_expression("Near")), {}, f"{_TERMS}[0].matchExpressions[0].operator"),
    (_node_affinity(_expression("In")), {}, f"{_TERMS}[0].matchExpressions[0].values"),
    (_node_affinity(_expression("Exists", values=["a"])), {}, f"{_TERMS}[0].matchExpressions[0].values"),
    ({"affinity": {"podAntiAffinity": {_REQUIRED: [{"topologyKey": ""}]}}}, {}, f"spec.affinity.podAntiAffinity.{_REQUIRED}[0].topologyKey"),
    ({"topologySpreadConstraints": [{"maxSkew": 0, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}]}, {}, "spec.topologySpreadConstraints[0].maxSkew"),
    ({"topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "Shrug"}]}, {}, "spec.topologySpreadConstraints[0].whenUnsatisfiable"),
]  # fmt: skip


@pytest.mark.parametrize(("spec", "container", "field"), _PODS)
def test_a_pod_is_refused_for(
    cluster: Cluster, namespace: str, spec: dict[str, Any], container: dict[str, Any], field: str
) -> None:
    body = {
        "metadata": {"name": "wrong"},
        "spec": {"containers": [{"name": "main", "image": "busybox"} | container]} | spec,
    }
    answer = cluster.raw("POST", f"/api/v1/namespaces/{namespace}/pods", body)
    assert (answer.status, {cause["field"] for cause in answer.json["details"]["causes"]}) == (422, {field})


@pytest.mark.parametrize(
    "handler",
    [{"sleep": {"seconds": 5}}, {"exec": {"command": ["true"]}}, {"httpGet": {"port": 80}}],
)
def test_a_hook_may_be(cluster: Cluster, namespace: str, handler: dict[str, Any]) -> None:
    hook = {"name": "main", "image": "busybox", "lifecycle": {"preStop": handler}}
    body = {"metadata": {"name": "right"}, "spec": {"containers": [hook]}}
    assert cluster.raw("POST", f"/api/v1/namespaces/{namespace}/pods", body).status == 201


def test_a_hook_must_do_something(cluster: Cluster, namespace: str) -> None:
    hook = {"name": "main", "image": "busybox", "lifecycle": {"preStop": {}}}
    body = {"metadata": {"name": "wrong"}, "spec": {"containers": [hook]}}
    answer = cluster.raw("POST", f"/api/v1/namespaces/{namespace}/pods", body)
    (cause,) = answer.json["details"]["causes"]
    assert cause["field"] == "spec.containers[0].lifecycle.preStop"


def _service(**spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": "wrong"}, "spec": {"ports": [{"port": 80}]} | spec}


_OTHERS: list[tuple[str, dict[str, Any], str]] = [
    ("services", _service(ports=[{"port": 80, "protocol": "X"}]), "spec.ports[0].protocol"),
    ("services", _service(ports=[{"port": 80, "name": "a"}, {"port": 80, "name": "b"}]), "spec.ports[1]"),
    ("configmaps", {"metadata": {"name": "wrong", "finalizers": ["nodomain"]}}, "metadata.finalizers[0]"),
]


@pytest.mark.parametrize(("plural", "body", "field"), _OTHERS)
def test_a_core_object_is_refused_for(
    cluster: Cluster, namespace: str, plural: str, body: dict[str, Any], field: str
) -> None:
    answer = cluster.raw("POST", f"/api/v1/namespaces/{namespace}/{plural}", body)
    assert (answer.status, [cause["field"] for cause in answer.json["details"]["causes"]]) == (422, [field])


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        (
            {"strategy": {"rollingUpdate": {"maxUnavailable": "150%"}}},
            "spec.strategy.rollingUpdate.maxUnavailable",
        ),
        (
            {
                "selector": {
                    "matchLabels": {"app": "web"},
                    "matchExpressions": [{"key": "a", "operator": "Like"}],
                }
            },
            "spec.selector.matchExpressions[0].operator",
        ),
    ],
)
def test_a_deployment_is_refused_for(
    cluster: Cluster, namespace: str, changes: dict[str, Any], field: str
) -> None:
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments"
    answer = cluster.raw("POST", path, deployment(**changes))
    assert (answer.status, answer.json["details"]["causes"][0]["field"]) == (422, field)


def test_a_jobs_selector_is_not_the_callers(cluster: Cluster, namespace: str) -> None:
    template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "busybox"}]}}
    body = {
        "metadata": {"name": "j"},
        "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template},
    }
    answer = cluster.raw("POST", f"/apis/batch/v1/namespaces/{namespace}/jobs", body)
    assert (answer.status, "`selector` not auto-generated" in answer.json["message"]) == (422, True)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"volumeBindingMode": "Later"}, "volumeBindingMode"),
        ({"reclaimPolicy": "Forget"}, "reclaimPolicy"),
    ],
)
def test_a_storage_class_is_refused_for(cluster: Cluster, body: dict[str, Any], field: str) -> None:
    sent = {"metadata": {"name": "wrong"}, "provisioner": "ebs.csi.aws.com"} | body
    answer = cluster.raw("POST", "/apis/storage.k8s.io/v1/storageclasses", sent)
    assert (answer.status, answer.json["details"]["causes"][0]["field"]) == (422, field)


def _patched(cluster: Cluster, path: str, patch: Any) -> Answer:
    return cluster.raw("PATCH", path, patch, content_type=patches.MERGE)


def test_a_cluster_ip_stays(cluster: Cluster, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/services"
    cluster.raw("POST", path, _service())
    answer = _patched(cluster, f"{path}/wrong", {"spec": {"clusterIP": "127.37.100.200"}})
    assert (answer.status, "may not change once set" in answer.json["message"]) == (422, True)
