from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from kubernetes import client

from tests.kubernetes.conftest import Cluster, deployment, ours_only, pod, refusal, wait_until


class _Upstream(BaseHTTPRequestHandler):
    """A kubelet's and a pod's HTTP server in one: it answers what it was asked."""

    def do_GET(self) -> None:
        if self.path.endswith("/waiting"):
            self._answer(400, b'container "main" in pod "one" is waiting to start: ContainerCreating')
            return
        self._answer(200, f"GET {self.path} {self.headers.get('Authorization')}".encode())

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(201, b"POST " + self.path.encode() + b" " + body)

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Keep the test's output clean."""


@pytest.fixture(scope="module")
def upstream() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Upstream)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def node(cluster: Cluster, upstream: int) -> str:
    addresses = [{"type": "InternalIP", "address": "127.0.0.1"}]
    endpoint = {"kubeletEndpoint": {"Port": upstream}}
    status = {"addresses": addresses, "daemonEndpoints": endpoint}
    cluster.core.create_node({"metadata": {"name": "log-node"}, "status": status})
    return "log-node"


def test_scale_reads_and_writes_replicas(cluster: Cluster, namespace: str) -> None:
    cluster.apps.create_namespaced_deployment(namespace, deployment(replicas=2))
    scale = cluster.apps.read_namespaced_deployment_scale("web", namespace)
    assert (scale.spec.replicas, scale.status.selector) == (2, "app=web")
    scale.spec.replicas, scale.metadata.resource_version = 5, None  # a controller may have written meanwhile
    cluster.apps.replace_namespaced_deployment_scale("web", namespace, scale)
    changed = cluster.apps.read_namespaced_deployment("web", namespace)
    assert (changed.spec.replicas, changed.metadata.generation) == (5, 2)


def test_scale_to_zero_by_patch(cluster: Cluster, namespace: str) -> None:
    cluster.apps.create_namespaced_deployment(namespace, deployment())
    cluster.apps.patch_namespaced_deployment_scale("web", namespace, {"spec": {"replicas": 0}})
    assert cluster.apps.read_namespaced_deployment("web", namespace).spec.replicas == 0


def test_a_negative_scale_is_invalid(cluster: Cluster, namespace: str) -> None:
    cluster.apps.create_namespaced_deployment(namespace, deployment())
    patch = {"spec": {"replicas": -1}}
    assert refusal(cluster.apps.patch_namespaced_deployment_scale, "web", namespace, patch).status == 422


def _bind(cluster: Cluster, namespace: str, node: str = "node-1") -> Any:
    body = {"metadata": {"name": "one"}, "target": {"kind": "Node", "name": node}}
    return cluster.raw("POST", f"/api/v1/namespaces/{namespace}/pods/one/binding", body)


def test_binding_sets_the_node_and_the_condition(cluster: Cluster, namespace: str) -> None:
    cluster.core.create_namespaced_pod(namespace, pod())
    assert _bind(cluster, namespace).status == 201
    bound = cluster.core.read_namespaced_pod("one", namespace)
    assert bound.spec.node_name == "node-1"
    assert [(c.type, c.status) for c in bound.status.conditions] == [("PodScheduled", "True")]


def test_binding_twice_conflicts(cluster: Cluster, namespace: str) -> None:
    cluster.core.create_namespaced_pod(namespace, pod())
    _bind(cluster, namespace)
    answer = _bind(cluster, namespace, "node-2")
    assert (answer.status, 'already assigned to node "node-1"' in answer.json["message"]) == (409, True)


def _guarded_pod(cluster: Cluster, namespace: str, allowed: int) -> None:
    """A ready pod under a budget whose controller counted `allowed` disruptions."""
    cluster.core.create_namespaced_pod(namespace, pod(labels={"app": "x"}, nodeName="node-1"))
    running = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
    cluster.core.patch_namespaced_pod_status("one", namespace, {"status": running})
    policy = client.PolicyV1Api(cluster.api)
    spec = {"minAvailable": 1, "selector": {"matchLabels": {"app": "x"}}}
    policy.create_namespaced_pod_disruption_budget(namespace, {"metadata": {"name": "keep"}, "spec": spec})
    counts = {"disruptionsAllowed": allowed, "currentHealthy": 1, "desiredHealthy": 1, "expectedPods": 1}
    patch = {"status": counts | {"observedGeneration": 1}}
    policy.patch_namespaced_pod_disruption_budget_status("keep", namespace, patch)


def _evict(cluster: Cluster, namespace: str) -> Any:
    body = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": "one", "namespace": namespace},
    }
    return cluster.raw("POST", f"/api/v1/namespaces/{namespace}/pods/one/eviction", body)


def test_an_exhausted_budget_forbids_an_eviction(cluster: Cluster, namespace: str) -> None:
    _guarded_pod(cluster, namespace, allowed=0)
    answer = _evict(cluster, namespace)
    assert (answer.status, answer.json["reason"]) == (429, "TooManyRequests")
    assert answer.json["details"]["causes"][0]["reason"] == "DisruptionBudget"
    assert cluster.core.read_namespaced_pod("one", namespace).metadata.deletion_timestamp is None


@ours_only("its controller counts the pods, and nobody runs this one")
def test_an_eviction_spends_one_disruption(cluster: Cluster, namespace: str) -> None:
    _guarded_pod(cluster, namespace, allowed=1)
    assert _evict(cluster, namespace).status == 201
    assert cluster.core.read_namespaced_pod("one", namespace).metadata.deletion_timestamp is not None
    budget = client.PolicyV1Api(cluster.api).read_namespaced_pod_disruption_budget("keep", namespace)
    assert (budget.status.disruptions_allowed, list(budget.status.disrupted_pods)) == (0, ["one"])


@ours_only("its controller counts the pods, and nobody runs this one")
def test_a_dry_eviction_spends_nothing(cluster: Cluster, namespace: str) -> None:
    _guarded_pod(cluster, namespace, allowed=1)
    body = {"metadata": {"name": "one"}, "deleteOptions": {"dryRun": ["All"]}}
    path = f"/api/v1/namespaces/{namespace}/pods/one/eviction"
    assert cluster.raw("POST", path, body).status == 201
    budget = client.PolicyV1Api(cluster.api).read_namespaced_pod_disruption_budget("keep", namespace)
    assert budget.status.disruptions_allowed == 1
    assert cluster.core.read_namespaced_pod("one", namespace).metadata.deletion_timestamp is None


@pytest.mark.parametrize("subresource", ["eviction", "binding"])
def test_a_body_that_names_another_pod_is_refused(cluster: Cluster, namespace: str, subresource: str) -> None:
    cluster.core.create_namespaced_pod(namespace, pod())
    body = {"metadata": {"name": "other"}, "target": {"name": "node"}}
    answer = cluster.raw("POST", f"/api/v1/namespaces/{namespace}/pods/one/{subresource}", body)
    assert (answer.status, "name in URL does not match" in answer.json["message"]) == (400, True)


def test_a_new_status_has_the_counts_clients_require(cluster: Cluster, namespace: str) -> None:
    budgets, spec = client.PolicyV1Api(cluster.api), {"maxUnavailable": 1, "selector": {}}
    made = budgets.create_namespaced_pod_disruption_budget(
        namespace, {"metadata": {"name": "fresh"}, "spec": spec}
    )
    assert (made.status.current_healthy, made.status.disruptions_allowed) == (0, 0)
    body = deployment("each")
    made = cluster.apps.create_namespaced_daemon_set(namespace, body | {"kind": "DaemonSet"})
    assert made.status.desired_number_scheduled == 0


def test_an_access_review_asks_for_one_thing(cluster: Cluster) -> None:
    path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    answer = cluster.raw("POST", path, {"spec": {}})
    assert (answer.status, "exactly one of" in answer.json["message"]) == (422, True)


def test_access_reviews_allow(cluster: Cluster) -> None:
    spec = {"resourceAttributes": {"verb": "create", "resource": "pods"}}
    review = client.AuthorizationV1Api(cluster.api).create_self_subject_access_review({"spec": spec})
    assert review.status.allowed is True


@ours_only("it asks a kubelet or a pod on loopback")
def test_logs_come_from_the_nodes_kubelet(cluster: Cluster, namespace: str, node: str) -> None:
    cluster.core.create_namespaced_pod(namespace, pod(nodeName=node))
    text = cluster.core.read_namespaced_pod_log("one", namespace, tail_lines=5, timestamps=True)
    path, _, authorization = text.removeprefix("GET ").partition(" ")
    assert path.partition("?")[0] == f"/containerLogs/{namespace}/one/main"
    assert "tailLines=5" in path
    assert authorization == "None"


@ours_only("it asks a kubelet or a pod on loopback")
def test_a_kubelets_refusal_is_passed_on(cluster: Cluster, namespace: str, node: str) -> None:
    body = pod(nodeName=node, containers=[{"name": "waiting", "image": "busybox"}])
    cluster.core.create_namespaced_pod(namespace, body)
    error = refusal(cluster.core.read_namespaced_pod_log, "one", namespace)
    assert (error.status, "is waiting to start" in error.body) == (400, True)


def test_logs_of_a_pod_without_a_node_are_empty(cluster: Cluster, namespace: str) -> None:
    cluster.core.create_namespaced_pod(namespace, pod())
    answer = cluster.raw("GET", f"/api/v1/namespaces/{namespace}/pods/one/log")
    assert (answer.status, answer.data) == (204, b"")


@ours_only("it asks a kubelet or a pod on loopback")
def test_several_containers_must_be_told_apart(cluster: Cluster, namespace: str, node: str) -> None:
    containers = [{"name": name, "image": "busybox"} for name in ("a", "b")]
    cluster.core.create_namespaced_pod(namespace, pod(nodeName=node, containers=containers))
    error = refusal(cluster.core.read_namespaced_pod_log, "one", namespace)
    assert (error.status, "choose one of:" in error.body) == (400, True)
    assert refusal(cluster.core.read_namespaced_pod_log, "one", namespace, container="c").status == 400


@ours_only("it asks a kubelet or a pod on loopback")
def test_the_service_proxy_reaches_a_ready_endpoint(cluster: Cluster, namespace: str, upstream: int) -> None:
    ports = [{"name": "http", "port": 80}]
    cluster.core.create_namespaced_service(
        namespace, {"metadata": {"name": "vllm"}, "spec": {"ports": ports}}
    )
    endpoint = {
        "metadata": {"name": "vllm-1", "labels": {"kubernetes.io/service-name": "vllm"}},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": upstream}],
        "endpoints": [{"addresses": ["127.0.0.1"], "conditions": {"ready": True}}],
    }
    client.DiscoveryV1Api(cluster.api).create_namespaced_endpoint_slice(namespace, endpoint)
    root = f"/api/v1/namespaces/{namespace}/services"
    for name in ("vllm", "vllm:80", "vllm:http"):
        answer = cluster.raw("GET", f"{root}/{name}/proxy/v1/models", query={"a": "b"})
        assert answer.data == b"GET /v1/models?a=b None"
    posted = cluster.raw("POST", f"{root}/vllm:80/proxy/v1/completions", {"prompt": "x"})
    assert (posted.status, posted.data) == (201, b'POST /v1/completions {"prompt": "x"}')


def test_a_service_without_endpoints_is_unavailable(cluster: Cluster, namespace: str) -> None:
    spec = {"ports": [{"port": 80}], "selector": {"app": "none"}}
    cluster.core.create_namespaced_service(namespace, {"metadata": {"name": "empty"}, "spec": spec})
    path = f"/api/v1/namespaces/{namespace}/services/empty/proxy/"
    wait_until(lambda: cluster.raw("GET", path).status == 503)  # its controller counts the endpoints first
    assert cluster.raw("GET", path).json["message"] == 'no endpoints available for service "empty"'
