"""kubectl against the server. Without controllers, so nothing here waits for a rollout."""

from __future__ import annotations

import json
from typing import Any

from tests.kubernetes.conftest import Cluster, deployment, ours_only, pod


def _manifest(**spec: Any) -> str:
    return json.dumps(deployment(**spec))


def test_apply_creates_changes_and_leaves(kubectl: Any, namespace: str) -> None:
    apply = ("apply", "-n", namespace, "-f", "-")
    said = [kubectl(*apply, stdin=_manifest(replicas=n)).stdout.split()[-1] for n in (1, 1, 2)]
    assert said == ["created", "unchanged", "configured"]


def test_apply_removes_what_the_manifest_drops(kubectl: Any, cluster: Cluster, namespace: str) -> None:
    apply = ("apply", "-n", namespace, "-f", "-")
    kubectl(*apply, stdin=_manifest(minReadySeconds=5))
    kubectl(*apply, stdin=_manifest())
    assert cluster.apps.read_namespaced_deployment("web", namespace).spec.min_ready_seconds is None


def test_server_side_apply_reports_conflicts(kubectl: Any, namespace: str) -> None:
    apply = ("apply", "-n", namespace, "--server-side", "-f", "-")
    kubectl(*apply, "--field-manager=a", stdin=_manifest(replicas=1))
    refused = kubectl(*apply, "--field-manager=b", stdin=_manifest(replicas=2), check=False)
    assert 'conflict with "a"' in refused.stderr
    assert ".spec.replicas" in refused.stderr
    kubectl(*apply, "--field-manager=b", "--force-conflicts", stdin=_manifest(replicas=2))


def test_a_misspelt_field_is_refused_by_the_servers_validation(kubectl: Any, namespace: str) -> None:
    refused = kubectl("apply", "-n", namespace, "-f", "-", stdin=_manifest(replica=2), check=False)
    assert refused.returncode == 1
    assert 'unknown field "spec.replica"' in refused.stderr


def test_diff_shows_the_change(kubectl: Any, namespace: str) -> None:
    kubectl("apply", "-n", namespace, "-f", "-", stdin=_manifest(replicas=1))
    shown = kubectl("diff", "-n", namespace, "-f", "-", stdin=_manifest(replicas=3), check=False)
    assert shown.returncode == 1
    assert "+  replicas: 3" in shown.stdout


def test_get_prints_the_servers_table(kubectl: Any, cluster: Cluster, namespace: str) -> None:
    cluster.core.create_namespaced_pod(namespace, pod())
    head, row = kubectl("get", "pods", "-n", namespace).stdout.splitlines()
    assert head.split() == ["NAME", "READY", "STATUS", "RESTARTS", "AGE"]
    assert row.split()[:4] == ["one", "0/1", "Pending", "0"]


def test_get_as_yaml_and_json_path(kubectl: Any, namespace: str) -> None:
    kubectl("apply", "-n", namespace, "-f", "-", stdin=_manifest(replicas=4))
    assert "kind: Deployment" in kubectl("get", "deploy", "web", "-n", namespace, "-o", "yaml").stdout
    answer = kubectl("get", "deploy", "web", "-n", namespace, "-o", "jsonpath={.spec.replicas}")
    assert answer.stdout == "4"


def test_get_all_lists_workloads_and_services(kubectl: Any, namespace: str) -> None:
    kubectl("apply", "-n", namespace, "-f", "-", stdin=_manifest())
    assert "deployment.apps/web" in kubectl("get", "all", "-n", namespace, "-o", "name").stdout


def test_create_makes_a_secret(kubectl: Any, cluster: Cluster, namespace: str) -> None:
    kubectl("create", "secret", "generic", "hf", "--from-literal=token=abc", "-n", namespace)
    assert cluster.core.read_namespaced_secret("hf", namespace).data == {"token": "YWJj"}


def test_scale_set_image_label_and_restart(kubectl: Any, cluster: Cluster, namespace: str) -> None:
    kubectl("apply", "-n", namespace, "-f", "-", stdin=_manifest())
    kubectl("scale", "deploy/web", "--replicas=3", "-n", namespace)
    kubectl("set", "image", "deploy/web", "main=nginx:2", "-n", namespace)
    kubectl("label", "deploy/web", "tier=gpu", "-n", namespace)
    kubectl("rollout", "restart", "deploy/web", "-n", namespace)
    found = cluster.apps.read_namespaced_deployment("web", namespace)
    assert (found.spec.replicas, found.spec.template.spec.containers[0].image) == (3, "nginx:2")
    assert found.metadata.labels == {"tier": "gpu"}
    assert "kubectl.kubernetes.io/restartedAt" in found.spec.template.metadata.annotations


def test_wait_sees_a_condition(kubectl: Any, cluster: Cluster, namespace: str) -> None:
    cluster.core.create_namespaced_pod(namespace, pod())
    conditions = [{"type": "Ready", "status": "True"}]
    cluster.core.patch_namespaced_pod_status("one", namespace, {"status": {"conditions": conditions}})
    assert "condition met" in kubectl("wait", "pod/one", "--for=condition=Ready", "-n", namespace).stdout


def test_delete_waits_until_it_is_gone(kubectl: Any, namespace: str) -> None:
    kubectl("apply", "-n", namespace, "-f", "-", stdin=_manifest())
    kubectl("delete", "deploy", "web", "-n", namespace, "--timeout=10s")
    assert kubectl("get", "deploy", "-n", namespace, "-o", "name").stdout == ""


def test_drain_evicts_through_the_budget(kubectl: Any, cluster: Cluster, namespace: str) -> None:
    cluster.core.create_node({"metadata": {"name": f"{namespace}-node"}})
    cluster.core.create_namespaced_pod(namespace, pod(nodeName=f"{namespace}-node"))
    kubectl("drain", f"{namespace}-node", "--force", "--timeout=1s", check=False)
    assert cluster.core.read_node(f"{namespace}-node").spec.unschedulable is True
    assert cluster.core.read_namespaced_pod("one", namespace).metadata.deletion_timestamp is not None


def test_explain_knows_the_fields(kubectl: Any) -> None:
    assert "FIELD: strategy <DeploymentStrategy>" in kubectl("explain", "deployment.spec.strategy").stdout


def test_api_resources_and_version_answer(kubectl: Any) -> None:
    assert "deployments.apps" in kubectl("api-resources", "-o", "name").stdout
    assert "Server Version: v" in kubectl("version").stdout


def test_describe_puts_events_beside_the_object(kubectl: Any, cluster: Cluster, namespace: str) -> None:
    made = cluster.core.create_namespaced_pod(namespace, pod())
    involved = {"kind": "Pod", "name": "one", "namespace": namespace, "uid": made.metadata.uid}
    event = {
        "metadata": {"name": "e"},
        "involvedObject": involved,
        "reason": "FailedScheduling",
        "message": "no GPU",
    }
    cluster.raw("POST", f"/api/v1/namespaces/{namespace}/events", event)
    assert "no GPU" in kubectl("describe", "pod", "one", "-n", namespace).stdout


def test_whoever_is_let_in_may_do_everything(kubectl: Any) -> None:
    assert kubectl("auth", "can-i", "get", "pods").stdout.strip() == "yes"


def test_a_kind_without_its_definition_has_no_match(kubectl: Any) -> None:
    unknown = json.dumps({"apiVersion": "keda.sh/v1", "kind": "Nothing", "metadata": {"name": "x"}})
    refused = kubectl("apply", "-f", "-", stdin=unknown, check=False)
    assert (refused.returncode, 'no matches for kind "Nothing"' in refused.stderr) == (1, True)


@ours_only("it has ephemeral containers")
def test_ephemeral_containers_are_said_to_be_off(kubectl: Any, cluster: Cluster, namespace: str) -> None:
    cluster.core.create_namespaced_pod(namespace, pod())
    refused = kubectl("debug", "one", "-n", namespace, "--image=busybox", check=False)
    assert (refused.returncode, "ephemeral containers are disabled for this cluster" in refused.stderr) == (
        1,
        True,
    )
