from __future__ import annotations

from typing import Any

from slipway_sandbox.kubernetes import patches
from tests.kubernetes.conftest import Answer, Cluster, deployment, refusal


def _patched(cluster: Cluster, namespace: str, patch: Any, kind: str) -> Answer:
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments/web"
    return cluster.raw("PATCH", path, patch, content_type=kind)


def test_a_dict_is_a_strategic_merge_by_container_name(cluster: Cluster, namespace: str) -> None:
    cluster.apps.create_namespaced_deployment(namespace, deployment())
    container = {"name": "main", "env": [{"name": "A", "value": "1"}]}
    patch = {"spec": {"template": {"spec": {"containers": [container]}}}}
    (merged,) = cluster.apps.patch_namespaced_deployment(
        "web", namespace, patch
    ).spec.template.spec.containers
    assert (merged.image, merged.env[0].value) == ("nginx:1.27", "1")


def test_a_strategic_patch_deletes_one_list_item(cluster: Cluster, namespace: str) -> None:
    body = deployment()
    body["spec"]["template"]["spec"]["containers"].append({"name": "side", "image": "busybox"})
    cluster.apps.create_namespaced_deployment(namespace, body)
    patch = {"spec": {"template": {"spec": {"containers": [{"name": "side", "$patch": "delete"}]}}}}
    answer = _patched(cluster, namespace, patch, patches.STRATEGIC)
    assert [c["name"] for c in answer.json["spec"]["template"]["spec"]["containers"]] == ["main"]


def test_retain_keys_swaps_the_strategy(cluster: Cluster, namespace: str) -> None:
    cluster.apps.create_namespaced_deployment(namespace, deployment())
    patch = {"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}
    answer = _patched(cluster, namespace, patch, patches.STRATEGIC)
    assert answer.json["spec"]["strategy"] == {"type": "Recreate"}


def test_a_merge_patch_replaces_lists_and_null_removes(cluster: Cluster, namespace: str) -> None:
    body = deployment()
    body["metadata"]["labels"] = {"a": "1", "b": "2"}
    cluster.apps.create_namespaced_deployment(namespace, body)
    containers = [{"name": "other", "image": "busybox"}]
    patch = {"metadata": {"labels": {"a": None}}, "spec": {"template": {"spec": {"containers": containers}}}}
    answer = _patched(cluster, namespace, patch, patches.MERGE)
    assert answer.json["metadata"]["labels"] == {"b": "2"}
    assert [c["name"] for c in answer.json["spec"]["template"]["spec"]["containers"]] == ["other"]


def test_a_patch_with_a_stale_version_conflicts(cluster: Cluster, namespace: str) -> None:
    old = cluster.apps.create_namespaced_deployment(namespace, deployment()).metadata.resource_version
    cluster.apps.patch_namespaced_deployment("web", namespace, {"spec": {"replicas": 2}})
    patch = {"metadata": {"resourceVersion": old}, "spec": {"replicas": 3}}
    assert refusal(cluster.apps.patch_namespaced_deployment, "web", namespace, patch).status == 409


def test_patching_what_is_not_there_is_not_found(cluster: Cluster, namespace: str) -> None:
    assert _patched(cluster, namespace, {}, patches.MERGE).status == 404


def test_an_unknown_patch_type_is_415(cluster: Cluster, namespace: str) -> None:
    assert _patched(cluster, namespace, {}, "application/json").status == 415
