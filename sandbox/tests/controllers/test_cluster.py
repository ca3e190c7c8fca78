"""Endpoints, budgets, namespaces, garbage, nodes: over the API."""

from __future__ import annotations

from slipway_sandbox.controllers.objects import (
    DEFINITIONS,
    DEPLOYMENTS,
    DISRUPTION_BUDGETS,
    ENDPOINT_SLICES,
    NAMESPACES,
    NODES,
    PODS,
    REPLICA_SETS,
    SERVICE_ACCOUNTS,
    SERVICES,
    Object,
    Resource,
    condition_of,
    is_deleting,
    status_of,
)
from tests.controllers.conftest import Cluster, deployment, pod_spec

CONFIG_MAPS = Resource("v1", "configmaps", "ConfigMap")
WIDGETS = Resource("example.com/v1", "widgets", "Widget")


def service(name: str, **spec: object) -> Object:
    body = {"selector": {"app": name}, "ports": [{"name": "http", "port": 80, "targetPort": 8000}], **spec}
    return {"metadata": {"name": name, "namespace": "default"}, "spec": body}


async def test_a_ready_pod_is_in_the_slice(cluster: Cluster) -> None:
    await cluster.node("a", labels={"topology.kubernetes.io/zone": "us-east-1a"})
    await cluster.create(SERVICES, service("web"))
    await cluster.create(DEPLOYMENTS, deployment("web"))

    async def filled() -> Object | None:
        slices = await cluster.all(ENDPOINT_SLICES, labelSelector="kubernetes.io/service-name=web")
        return slices[0] if slices and slices[0].get("endpoints") else None

    full = await cluster.until(filled, "the slice is filled")
    assert full["ports"] == [{"name": "http", "port": 8000, "protocol": "TCP"}]
    (endpoint,) = full["endpoints"]
    assert endpoint["conditions"] == {"ready": True, "serving": True, "terminating": False}
    assert endpoint["zone"] == "us-east-1a"


async def test_a_pod_that_is_not_ready_is_kept_apart(cluster: Cluster) -> None:
    cluster.kubelet.ready = False
    await cluster.node("a")
    await cluster.create(SERVICES, service("web"))
    await cluster.create(DEPLOYMENTS, deployment("web"))

    async def unready() -> bool:
        slices = await cluster.all(ENDPOINT_SLICES)
        endpoints = [e for s in slices for e in s.get("endpoints") or []]
        return [e["conditions"]["ready"] for e in endpoints] == [False]

    await cluster.until(unready, "the endpoint is not ready")


async def test_a_terminating_pod_is_marked_so_in_the_slice(cluster: Cluster) -> None:
    cluster.kubelet.linger = True
    await cluster.node("a")
    await cluster.create(SERVICES, service("web"))
    await cluster.create(PODS, {"metadata": {"name": "p", "labels": {"app": "web"}}, "spec": pod_spec()})
    await cluster.until_that(PODS, "p", lambda p: status_of(p).get("phase") == "Running")
    await cluster.delete(PODS, "p")

    async def terminating() -> bool:
        slices = await cluster.all(ENDPOINT_SLICES)
        endpoints = [e for s in slices for e in s.get("endpoints") or []]
        return [e["conditions"] for e in endpoints] == [
            {"ready": False, "serving": True, "terminating": True}
        ]

    await cluster.until(terminating, "the endpoint is terminating")


async def test_slices_go_with_their_service(cluster: Cluster) -> None:
    await cluster.create(SERVICES, service("web"))

    async def some() -> bool:
        return bool(await cluster.all(ENDPOINT_SLICES))

    await cluster.until(some, "a slice")
    await cluster.delete(SERVICES, "web")

    async def none() -> bool:
        return not await cluster.all(ENDPOINT_SLICES)

    await cluster.until(none, "the slices are gone")


async def test_a_budget_counts_the_disruptions_it_allows(cluster: Cluster) -> None:
    await cluster.node("a")
    spec = {"minAvailable": "50%", "selector": {"matchLabels": {"app": "web"}}}
    await cluster.create(DISRUPTION_BUDGETS, {"metadata": {"name": "web"}, "spec": spec})
    await cluster.create(DEPLOYMENTS, deployment("web", 3))
    done = await cluster.until_that(
        DISRUPTION_BUDGETS, "web", lambda b: status_of(b).get("currentHealthy") == 3
    )
    assert (status_of(done)["desiredHealthy"], status_of(done)["disruptionsAllowed"]) == (2, 1)


async def test_every_namespace_gets_its_default_service_account(cluster: Cluster) -> None:
    await cluster.create(NAMESPACES, {"metadata": {"name": "llm"}})
    await cluster.until_that(SERVICE_ACCOUNTS, "default", lambda a: True, namespace="llm")


async def test_a_deleted_namespace_empties_and_goes(cluster: Cluster) -> None:
    await cluster.node("a")
    await cluster.create(NAMESPACES, {"metadata": {"name": "llm"}})
    await cluster.until_that(SERVICE_ACCOUNTS, "default", lambda a: True, namespace="llm")
    body = deployment("web")
    body["metadata"]["namespace"] = "llm"
    await cluster.create(DEPLOYMENTS, body)
    await cluster.create(CONFIG_MAPS, {"metadata": {"name": "c", "namespace": "llm"}})
    await cluster.delete(NAMESPACES, "llm")
    await cluster.until_gone(NAMESPACES, "llm")
    assert not await cluster.all(PODS)
    assert not await cluster.all(REPLICA_SETS)


async def test_what_a_deployment_owns_goes_with_it(cluster: Cluster) -> None:
    await cluster.node("a")
    await cluster.create(DEPLOYMENTS, deployment("web", 2))
    await cluster.until_that(DEPLOYMENTS, "web", lambda d: status_of(d).get("availableReplicas") == 2)
    await cluster.delete(DEPLOYMENTS, "web")

    async def empty() -> bool:
        return not await cluster.all(PODS) and not await cluster.all(REPLICA_SETS)

    await cluster.until(empty, "sets and pods are gone")


async def test_in_the_foreground_the_owner_goes_last(cluster: Cluster) -> None:
    cluster.kubelet.linger = True
    await cluster.node("a")
    await cluster.create(DEPLOYMENTS, deployment("web"))
    await cluster.until_that(DEPLOYMENTS, "web", lambda d: status_of(d).get("availableReplicas") == 1)
    await cluster.delete(DEPLOYMENTS, "web", propagationPolicy="Foreground")

    async def leaving() -> Object | None:
        pods = await cluster.all(PODS)
        return pods[0] if pods[0]["metadata"].get("deletionTimestamp") else None

    pod = await cluster.until(leaving, "the pod is told to go")
    assert await cluster.get(DEPLOYMENTS, "web") is not None
    await cluster.delete(PODS, pod["metadata"]["name"], gracePeriodSeconds=0)
    await cluster.until_gone(DEPLOYMENTS, "web")


async def test_orphaned_pods_stay_without_an_owner(cluster: Cluster) -> None:
    await cluster.node("a")
    await cluster.create(DEPLOYMENTS, deployment("web"))
    await cluster.until_that(DEPLOYMENTS, "web", lambda d: status_of(d).get("availableReplicas") == 1)
    await cluster.delete(DEPLOYMENTS, "web", propagationPolicy="Orphan")
    await cluster.until_gone(DEPLOYMENTS, "web")
    (left,) = await cluster.all(REPLICA_SETS)
    assert not left["metadata"].get("ownerReferences")


async def test_an_object_whose_owner_never_was_is_collected(cluster: Cluster) -> None:
    reference = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "ghost", "uid": "no-such-uid"}
    await cluster.create(CONFIG_MAPS, {"metadata": {"name": "c", "ownerReferences": [reference]}})
    await cluster.until_gone(CONFIG_MAPS, "c")


async def test_custom_resources_are_collected_too(cluster: Cluster) -> None:
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    names = {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"}
    spec = {"group": "example.com", "scope": "Namespaced", "names": names, "versions": [version]}
    await cluster.create(DEFINITIONS, {"metadata": {"name": "widgets.example.com"}, "spec": spec})
    await cluster.until(lambda: cluster.client.get("/apis/example.com/v1"), "the kind is served")
    owner = await cluster.create(WIDGETS, {"metadata": {"name": "w", "namespace": "default"}})
    reference = {
        "apiVersion": "example.com/v1",
        "kind": "Widget",
        "name": "w",
        "uid": owner["metadata"]["uid"],
    }
    await cluster.create(CONFIG_MAPS, {"metadata": {"name": "c", "ownerReferences": [reference]}})
    await cluster.delete(WIDGETS, "w")
    await cluster.until_gone(CONFIG_MAPS, "c")


async def test_a_pod_leaves_a_node_whose_taint_it_does_not_tolerate(cluster: Cluster) -> None:
    await cluster.node("a")
    await cluster.create(PODS, {"metadata": {"name": "p", "namespace": "default"}, "spec": pod_spec()})
    await cluster.until_that(PODS, "p", lambda p: status_of(p).get("phase") == "Running")
    cluster.kubelet.linger = True
    await cluster.patch(NODES, "a", {"spec": {"taints": [{"key": "gone", "effect": "NoExecute"}]}})
    going = await cluster.until_that(PODS, "p", is_deleting)
    assert condition_of(going, "DisruptionTarget")["reason"] == "DeletionByTaintManager"  # type: ignore[index]
    await cluster.delete(PODS, "p", gracePeriodSeconds=0)
    await cluster.until_gone(PODS, "p")
