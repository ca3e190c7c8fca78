from __future__ import annotations

import datetime as dt
from typing import Any

from kubernetes import client

from tests.kubernetes.conftest import Cluster, config_map, deployment, ours_only, pod, refusal


def test_a_created_object_has_uid_version_and_creation_time(cluster: Cluster, namespace: str) -> None:
    made = cluster.core.create_namespaced_config_map(namespace, config_map(a="1"))
    assert len(made.metadata.uid) == 36
    assert made.metadata.resource_version.isdigit()
    assert abs(dt.datetime.now(dt.UTC) - made.metadata.creation_timestamp) < dt.timedelta(seconds=30)


def test_typed_models_are_accepted_as_bodies(cluster: Cluster, namespace: str) -> None:
    body = client.V1ConfigMap(metadata=client.V1ObjectMeta(name="typed"), data={"a": "1"})
    assert cluster.core.create_namespaced_config_map(namespace, body).data == {"a": "1"}


def test_the_initial_namespaces_exist(cluster: Cluster) -> None:
    names = {item.metadata.name for item in cluster.core.list_namespace().items}
    assert {"default", "kube-system", "kube-public", "kube-node-lease"} <= names


def test_a_namespace_carries_its_name_as_a_label(cluster: Cluster, namespace: str) -> None:
    labels = cluster.core.read_namespace(namespace).metadata.labels
    assert labels["kubernetes.io/metadata.name"] == namespace


def test_creating_twice_is_already_exists(cluster: Cluster, namespace: str) -> None:
    cluster.core.create_namespaced_config_map(namespace, config_map())
    error = refusal(cluster.core.create_namespaced_config_map, namespace, config_map())
    assert (error.status, '"reason":"AlreadyExists"' in error.body) == (409, True)


def test_reading_what_is_not_there_is_not_found(cluster: Cluster, namespace: str) -> None:
    error = refusal(cluster.apps.read_namespaced_deployment, "ghost", namespace)
    assert error.status == 404
    assert 'deployments.apps \\"ghost\\" not found' in error.body


def test_creating_in_a_missing_namespace_is_not_found(cluster: Cluster) -> None:
    error = refusal(cluster.core.create_namespaced_config_map, "nowhere", config_map())
    assert error.status == 404
    assert 'namespaces \\"nowhere\\" not found' in error.body


def test_generate_name_gives_distinct_names(cluster: Cluster, namespace: str) -> None:
    body = {"metadata": {"generateName": "job-"}}
    names = {cluster.core.create_namespaced_config_map(namespace, body).metadata.name for _ in range(5)}
    assert len(names) == 5
    assert all(name.startswith("job-") and len(name) == 9 for name in names)


def test_dry_run_stores_nothing(cluster: Cluster, namespace: str) -> None:
    made = cluster.core.create_namespaced_config_map(namespace, config_map(), dry_run="All")
    assert made.metadata.uid
    assert refusal(cluster.core.read_namespaced_config_map, "settings", namespace).status == 404


def test_replace_with_a_stale_version_conflicts(cluster: Cluster, namespace: str) -> None:
    made = cluster.core.create_namespaced_config_map(namespace, config_map(a="1"))
    made.data = {"a": "2"}
    cluster.core.replace_namespaced_config_map("settings", namespace, made)
    error = refusal(cluster.core.replace_namespaced_config_map, "settings", namespace, made)
    assert error.status == 409
    assert "the object has been modified" in error.body


def test_replace_without_a_version_is_unconditional(cluster: Cluster, namespace: str) -> None:
    cluster.core.create_namespaced_config_map(namespace, config_map(a="1"))
    replaced = cluster.core.replace_namespaced_config_map("settings", namespace, config_map(b="2"))
    assert replaced.data == {"b": "2"}


def test_a_write_that_changes_nothing_keeps_the_version(cluster: Cluster, namespace: str) -> None:
    made = cluster.core.create_namespaced_config_map(namespace, config_map(a="1"))
    same = cluster.core.replace_namespaced_config_map("settings", namespace, config_map(a="1"))
    assert same.metadata.resource_version == made.metadata.resource_version


def test_generation_counts_spec_changes_alone(cluster: Cluster, namespace: str) -> None:
    cluster.apps.create_namespaced_deployment(namespace, deployment())
    labelled = cluster.apps.patch_namespaced_deployment(
        "web", namespace, {"metadata": {"labels": {"a": "b"}}}
    )
    scaled = cluster.apps.patch_namespaced_deployment("web", namespace, {"spec": {"replicas": 3}})
    assert (labelled.metadata.generation, scaled.metadata.generation) == (1, 2)


def test_status_is_changed_only_through_its_subresource(cluster: Cluster, namespace: str) -> None:
    cluster.apps.create_namespaced_deployment(namespace, deployment())
    status = {"status": {"replicas": 2, "readyReplicas": 2}}
    ignored = cluster.apps.patch_namespaced_deployment("web", namespace, status)
    taken = cluster.apps.patch_namespaced_deployment_status("web", namespace, status)
    assert (ignored.status.ready_replicas, taken.status.ready_replicas) == (None, 2)
    assert taken.metadata.generation == 1


def test_a_status_update_leaves_the_spec_alone(cluster: Cluster, namespace: str) -> None:
    cluster.apps.create_namespaced_deployment(namespace, deployment())
    body = {"spec": {"replicas": 9}, "status": {"replicas": 1}}
    assert cluster.apps.patch_namespaced_deployment_status("web", namespace, body).spec.replicas == 1


def test_deployment_defaults_are_filled_in(cluster: Cluster, namespace: str) -> None:
    spec = cluster.apps.create_namespaced_deployment(namespace, deployment()).spec
    assert (spec.replicas, spec.revision_history_limit, spec.progress_deadline_seconds) == (1, 10, 600)
    assert spec.strategy.rolling_update.max_surge == "25%"
    assert spec.template.spec.containers[0].image_pull_policy == "IfNotPresent"


def test_requests_default_to_limits(cluster: Cluster, namespace: str) -> None:
    resources = {"limits": {"nvidia.com/gpu": "1", "memory": "1024Mi"}}
    body = pod(containers=[{"name": "main", "image": "busybox", "resources": resources}])
    made = cluster.core.create_namespaced_pod(namespace, body)
    assert made.spec.containers[0].resources.requests == {"nvidia.com/gpu": "1", "memory": "1Gi"}


def test_string_data_of_a_secret_is_stored_encoded(cluster: Cluster, namespace: str) -> None:
    body = {"metadata": {"name": "token"}, "stringData": {"hf": "abc"}}
    made = cluster.core.create_namespaced_secret(namespace, body)
    assert (made.data, made.string_data, made.type) == ({"hf": "YWJj"}, None, "Opaque")


@ours_only("another service network")
def test_services_get_addresses_of_the_service_network(cluster: Cluster, namespace: str) -> None:
    addresses = set()
    for name in ("a", "b"):
        body = {"metadata": {"name": name}, "spec": {"ports": [{"port": 80}]}}
        made = cluster.core.create_namespaced_service(namespace, body)
        addresses.add(made.spec.cluster_ip)
        assert made.spec.ports[0].target_port == 80
    assert len(addresses) == 2
    assert all(address.startswith("127.37.1") for address in addresses)


def test_a_headless_service_gets_no_address(cluster: Cluster, namespace: str) -> None:
    body = {"metadata": {"name": "headless"}, "spec": {"clusterIP": "None", "selector": {"a": "b"}}}
    assert cluster.core.create_namespaced_service(namespace, body).spec.cluster_ip == "None"


def test_load_balancers_get_node_ports_and_keep_them(cluster: Cluster, namespace: str) -> None:
    body = {"metadata": {"name": "lb"}, "spec": {"type": "LoadBalancer", "ports": [{"port": 80}]}}
    first = cluster.core.create_namespaced_service(namespace, body).spec.ports[0].node_port
    again = cluster.core.replace_namespaced_service("lb", namespace, body).spec.ports[0].node_port
    assert 30000 <= first <= 32767
    assert first == again


def test_priority_comes_from_the_class(cluster: Cluster, namespace: str) -> None:
    body = pod(priorityClassName="system-node-critical")
    assert cluster.core.create_namespaced_pod(namespace, body).spec.priority == 2_000_001_000
    error = refusal(cluster.core.create_namespaced_pod, namespace, pod("two", priorityClassName="ghost"))
    assert (error.status, "no PriorityClass with name ghost" in error.body) == (403, True)


def test_a_pod_naming_a_missing_service_account_is_forbidden(cluster: Cluster, namespace: str) -> None:
    error = refusal(cluster.core.create_namespaced_pod, namespace, pod(serviceAccountName="ghost"))
    assert (error.status, 'serviceaccount \\"ghost\\" not found' in error.body) == (403, True)


def test_a_job_selects_its_pods_by_its_uid(cluster: Cluster, namespace: str) -> None:
    template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "busybox"}]}}
    body = {"metadata": {"name": "warm"}, "spec": {"template": template}}
    made = client.BatchV1Api(cluster.api).create_namespaced_job(namespace, body)
    assert made.spec.selector.match_labels == {"batch.kubernetes.io/controller-uid": made.metadata.uid}
    assert made.spec.template.metadata.labels["job-name"] == "warm"
    assert (made.spec.backoff_limit, made.spec.completions) == (6, 1)


def test_items_of_a_typed_list_carry_no_kind(cluster: Cluster, namespace: str) -> None:
    cluster.core.create_namespaced_config_map(namespace, config_map())
    answer = cluster.raw("GET", f"/api/v1/namespaces/{namespace}/configmaps").json
    assert answer["kind"] == "ConfigMapList"
    assert "kind" not in answer["items"][0]


def test_the_dynamic_client_finds_and_writes_resources(cluster: Cluster, namespace: str) -> None:
    deployments = cluster.dynamic().resources.get(api_version="apps/v1", kind="Deployment")
    deployments.create(body=deployment(), namespace=namespace)
    assert deployments.get(name="web", namespace=namespace).spec.replicas == 1


def test_empty_lists_and_maps_of_metadata_are_left_out(cluster: Cluster, namespace: str) -> None:
    empty: dict[str, Any] = {"labels": {}, "annotations": {}, "finalizers": [], "ownerReferences": []}
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    body = config_map()
    made = cluster.raw("POST", path, body | {"metadata": body["metadata"] | empty})
    assert made.status == 201
    assert not set(empty) & set(made.json["metadata"])
    held = {"metadata": {"finalizers": ["example.com/held"]}}
    changed = cluster.raw("PATCH", f"{path}/settings", held, content_type="application/merge-patch+json")
    assert changed.json["metadata"]["finalizers"] == ["example.com/held"]
    freed = cluster.raw(
        "PATCH", f"{path}/settings", {"metadata": empty}, content_type="application/merge-patch+json"
    )
    assert not set(empty) & set(freed.json["metadata"])
