from __future__ import annotations

import datetime as dt
from typing import Any

from kubernetes import client

from tests.kubernetes.conftest import Cluster, config_map, deployment, pod, refusal


def _running_pod(cluster: Cluster, namespace: str, **spec: Any) -> Any:
    """A pod on a node, as the scheduler leaves it."""
    return cluster.core.create_namespaced_pod(namespace, pod(nodeName="node-1", **spec))


def test_delete_answers_a_status_naming_what_went(cluster: Cluster, namespace: str) -> None:
    made = cluster.core.create_namespaced_config_map(namespace, config_map())
    status = cluster.core.delete_namespaced_config_map("settings", namespace)
    assert (status["status"], status["details"]["uid"]) == ("Success", made.metadata.uid)
    assert refusal(cluster.core.read_namespaced_config_map, "settings", namespace).status == 404


def test_a_pod_without_a_node_goes_at_once(cluster: Cluster, namespace: str) -> None:
    cluster.core.create_namespaced_pod(namespace, pod())
    cluster.core.delete_namespaced_pod("one", namespace)
    assert refusal(cluster.core.read_namespaced_pod, "one", namespace).status == 404


def test_a_pod_on_a_node_terminates_for_its_grace(cluster: Cluster, namespace: str) -> None:
    _running_pod(cluster, namespace, terminationGracePeriodSeconds=45)
    cluster.core.delete_namespaced_pod("one", namespace)
    metadata = cluster.core.read_namespaced_pod("one", namespace).metadata
    ahead = metadata.deletion_timestamp - dt.datetime.now(dt.UTC)
    assert metadata.deletion_grace_period_seconds == 45
    assert dt.timedelta(seconds=40) < ahead <= dt.timedelta(seconds=45)


def test_the_kubelet_ends_a_pod_with_grace_zero(cluster: Cluster, namespace: str) -> None:
    _running_pod(cluster, namespace)
    cluster.core.delete_namespaced_pod("one", namespace)
    cluster.core.delete_namespaced_pod("one", namespace, grace_period_seconds=0)
    assert refusal(cluster.core.read_namespaced_pod, "one", namespace).status == 404


def test_a_second_delete_can_shorten_the_grace(cluster: Cluster, namespace: str) -> None:
    _running_pod(cluster, namespace)
    cluster.core.delete_namespaced_pod("one", namespace)
    cluster.core.delete_namespaced_pod("one", namespace, grace_period_seconds=3)
    cluster.core.delete_namespaced_pod("one", namespace, grace_period_seconds=20)
    assert cluster.core.read_namespaced_pod("one", namespace).metadata.deletion_grace_period_seconds == 3


def test_a_finalizer_holds_a_deleted_object(cluster: Cluster, namespace: str) -> None:
    body = config_map()
    body["metadata"]["finalizers"] = ["example.com/hold"]
    cluster.core.create_namespaced_config_map(namespace, body)
    cluster.core.delete_namespaced_config_map("settings", namespace)
    held = cluster.core.read_namespaced_config_map("settings", namespace)
    assert held.metadata.deletion_timestamp is not None
    cluster.core.patch_namespaced_config_map("settings", namespace, {"metadata": {"finalizers": None}})
    assert refusal(cluster.core.read_namespaced_config_map, "settings", namespace).status == 404


def test_no_finalizer_can_be_added_to_a_deleted_object(cluster: Cluster, namespace: str) -> None:
    body = config_map()
    body["metadata"]["finalizers"] = ["example.com/hold"]
    cluster.core.create_namespaced_config_map(namespace, body)
    cluster.core.delete_namespaced_config_map("settings", namespace)
    patch = {"metadata": {"finalizers": ["example.com/hold", "example.com/more"]}}
    error = refusal(cluster.core.patch_namespaced_config_map, "settings", namespace, patch)
    assert (error.status, "no new finalizers can be added" in error.body) == (422, True)


def test_foreground_deletion_waits_for_the_garbage_collector(cluster: Cluster, namespace: str) -> None:
    cluster.apps.create_namespaced_deployment(namespace, deployment())
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments/web"
    metadata = cluster.raw("DELETE", path, query={"propagationPolicy": "Foreground"}).json["metadata"]
    assert metadata["finalizers"] == ["foregroundDeletion"]
    assert "deletionTimestamp" in metadata


def test_orphaning_waits_for_the_garbage_collector(cluster: Cluster, namespace: str) -> None:
    cluster.apps.create_namespaced_deployment(namespace, deployment())
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments/web"
    answer = cluster.raw("DELETE", path, {"propagationPolicy": "Orphan"})
    assert answer.json["metadata"]["finalizers"] == ["orphan"]


def test_a_job_deleted_without_a_policy_orphans_its_pods(cluster: Cluster, namespace: str) -> None:
    template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "busybox"}]}}
    body = {"metadata": {"name": "warm"}, "spec": {"template": template}}
    client.BatchV1Api(cluster.api).create_namespaced_job(namespace, body)
    answer = cluster.raw("DELETE", f"/apis/batch/v1/namespaces/{namespace}/jobs/warm")
    assert answer.json["metadata"]["finalizers"] == ["orphan"]


def test_a_uid_precondition_guards_a_delete(cluster: Cluster, namespace: str) -> None:
    cluster.core.create_namespaced_config_map(namespace, config_map())
    options = client.V1DeleteOptions(preconditions=client.V1Preconditions(uid="another"))
    error = refusal(cluster.core.delete_namespaced_config_map, "settings", namespace, body=options)
    assert (error.status, "precondition (another)" in error.body) == (409, True)


def test_a_dry_run_delete_deletes_nothing(cluster: Cluster, namespace: str) -> None:
    cluster.core.create_namespaced_config_map(namespace, config_map())
    cluster.core.delete_namespaced_config_map("settings", namespace, dry_run="All")
    assert cluster.core.read_namespaced_config_map("settings", namespace).metadata.deletion_timestamp is None


def test_a_namespace_terminates_until_it_is_finalized(cluster: Cluster, namespace: str) -> None:
    cluster.core.delete_namespace(namespace)
    terminating = cluster.core.read_namespace(namespace)
    assert (terminating.status.phase, terminating.spec.finalizers) == ("Terminating", ["kubernetes"])
    terminating.spec.finalizers = []
    cluster.core.replace_namespace_finalize(namespace, terminating)
    assert refusal(cluster.core.read_namespace, namespace).status == 404


def test_nothing_is_created_in_a_terminating_namespace(cluster: Cluster, namespace: str) -> None:
    cluster.core.delete_namespace(namespace)
    error = refusal(cluster.core.create_namespaced_config_map, namespace, config_map())
    assert (error.status, "because it is being terminated" in error.body) == (403, True)


def test_the_default_namespace_may_not_be_deleted(cluster: Cluster) -> None:
    assert refusal(cluster.core.delete_namespace, "default").status == 403
