"""What the scheduler says, and how its events are kept: also to be held against a real one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import pytest

from slipway_sandbox.controllers.objects import (
    CLAIMS,
    NODES,
    PODS,
    STORAGE_CLASSES,
    VOLUMES,
    Object,
    condition_of,
    status_of,
)
from tests.controllers.conftest import PAUSE, Cluster, pod_spec
from tests.controllers.test_scheduling import GPU_TAINT, claim, claiming_pod, placed, refused, volume
from tests.controllers.wording import words

ZONE = "topology.kubernetes.io/zone"
NOT_HELPFUL = "preemption: 0/{0} nodes are available: {0} Preemption is not helpful for scheduling."
NO_VICTIMS = "preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod."


def asking(name: str = "p", requests: Object | None = None, **spec: Any) -> Object:
    resources = {
        "requests": requests or {},
        "limits": {k: v for k, v in (requests or {}).items() if "/" in k},
    }
    container = {"name": "main", "image": PAUSE, "resources": resources}
    metadata = {"name": name, "namespace": "default", "labels": {"app": "x"}}
    return {"metadata": metadata, "spec": {**pod_spec(**spec), "containers": [container]}}


def affinity(kind: str, app: str = "x") -> Object:
    term = {"labelSelector": {"matchLabels": {"app": app}}, "topologyKey": "kubernetes.io/hostname"}
    return {kind: {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}


def only_on(node: str) -> Object:
    term = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}}


SPREAD = {
    "maxSkew": 1,
    "topologyKey": "zone",
    "whenUnsatisfiable": "DoNotSchedule",
    "labelSelector": {"matchLabels": {"app": "x"}},
}


async def said_of(cluster: Cluster, pod: Object) -> str:
    """What the scheduler says of a pod that fits nowhere: in its condition, and the same in an event."""
    await cluster.create(PODS, pod)
    waiting = await cluster.until_that(PODS, pod["metadata"]["name"], refused)
    condition = condition_of(waiting, "PodScheduled") or {}
    assert condition["reason"] == "Unschedulable"
    message = str(condition["message"])
    await cluster.until_said("Pod", ("Warning", "FailedScheduling", "default-scheduler", message))
    return message


@pytest.mark.parametrize(
    ("there", "incoming", "message"),
    [
        ([], asking(requests={"cpu": "9", "memory": "99Gi"}),
         "0/1 nodes are available: 1 Insufficient cpu, 1 Insufficient memory. " + NOT_HELPFUL.format(1)),
        ([asking("q", {"cpu": "3"})], asking(requests={"cpu": "2"}),
         "0/1 nodes are available: 1 Insufficient cpu. " + NO_VICTIMS),
        ([], asking(requests={"nvidia.com/gpu": "1"}),
         "0/1 nodes are available: 1 Insufficient nvidia.com/gpu. " + NOT_HELPFUL.format(1)),
        ([], asking(nodeSelector={"pool": "gpu"}),
         "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector. " + NOT_HELPFUL.format(1)),
        ([], asking(affinity=only_on("b")),
         "0/1 nodes are available: 1 node(s) didn't satisfy plugin(s) [NodeAffinity]. " + NOT_HELPFUL.format(1)),
        ([asking("q")], asking(affinity=affinity("podAntiAffinity")),
         "0/1 nodes are available: 1 node(s) didn't match pod anti-affinity rules. " + NO_VICTIMS),
        ([asking("q", affinity=affinity("podAntiAffinity"))], asking(),
         "0/1 nodes are available: 1 node(s) didn't satisfy existing pods anti-affinity rules. " + NO_VICTIMS),
        ([], asking(affinity=affinity("podAffinity", "other")),
         "0/1 nodes are available: 1 node(s) didn't match pod affinity rules. " + NOT_HELPFUL.format(1)),
        ([], claiming_pod("p", "data"),
         '0/1 nodes are available: persistentvolumeclaim "data" not found. ' + NOT_HELPFUL.format(1)),
    ],
)  # fmt: skip
async def test_why_a_node_is_out(
    cluster: Cluster, there: Sequence[Object], incoming: Object, message: str
) -> None:
    await cluster.node("a")
    for pod in there:
        await cluster.create(PODS, pod)
        await cluster.until_that(PODS, "q", placed)
    assert await said_of(cluster, incoming) == await words(cluster.client, message)


async def test_no_nodes_are_not_counted(cluster: Cluster) -> None:
    assert await said_of(cluster, asking()) == "no nodes available to schedule pods"


async def test_each_node_is_out_for_its_own_reason(cluster: Cluster) -> None:
    await cluster.node("a", taints=[GPU_TAINT], gpus=1)
    await cluster.node("b")
    await cluster.node("c", labels={"pool": "gpu"})
    await cluster.create(PODS, asking("q", {"cpu": "4"}, nodeSelector={"pool": "gpu"}))
    await cluster.until_that(PODS, "q", placed)
    message = (
        "0/3 nodes are available: 1 Insufficient cpu, 1 node(s) didn't match Pod's node affinity/selector, 1 node(s) had "
        "untolerated taint {nvidia.com/gpu: true}. preemption: 0/3 nodes are available: 1 No preemption victims found for "
        "incoming pod, 2 Preemption is not helpful for scheduling."
    )
    said = await said_of(cluster, asking(requests={"cpu": "1"}, nodeSelector={"pool": "gpu"}))
    assert said == await words(cluster.client, message)


async def test_a_spread_counts_nodes_without_the_label_apart(cluster: Cluster) -> None:
    await cluster.node("a", labels={"zone": "1"})
    await cluster.create(PODS, asking("q"))
    await cluster.until_that(PODS, "q", placed)
    await cluster.node("b", labels={"zone": "2"})
    await cluster.patch(NODES, "b", {"spec": {"unschedulable": True}})
    await cluster.until_that(NODES, "b", lambda n: n["spec"].get("taints"))
    await cluster.node("c")
    message = (
        "0/3 nodes are available: 1 node(s) didn't match pod topology spread constraints, 1 node(s) didn't match pod "
        "topology spread constraints (missing required label), 1 node(s) were unschedulable. preemption: 0/3 nodes are "
        "available: 1 No preemption victims found for incoming pod, 2 Preemption is not helpful for scheduling."
    )
    assert await said_of(cluster, asking(topologySpreadConstraints=[SPREAD])) == await words(
        cluster.client, message
    )


async def test_a_volume_in_another_zone_is_said_beside_the_taint_of_its_own(cluster: Cluster) -> None:
    await cluster.node("a", labels={ZONE: "us-east-1a"})
    await cluster.node("b", taints=[GPU_TAINT], labels={ZONE: "us-east-1b"})
    await cluster.create(VOLUMES, volume("pv", "", "us-east-1b"))
    await cluster.create(CLAIMS, claim("data", ""))
    await cluster.until_that(CLAIMS, "data", lambda c: status_of(c).get("phase") == "Bound")
    said = await said_of(cluster, claiming_pod("p", "data"))
    reasons = {
        await words(cluster.client, "1 node(s) had volume node affinity conflict"),
        await words(cluster.client, "1 node(s) had untolerated taint {nvidia.com/gpu: true}"),
    }
    first, _, rest = said.partition(". ")
    assert set(first.removeprefix("0/2 nodes are available: ").split(", ")) == reasons
    assert rest.endswith(NOT_HELPFUL.format(2))


@pytest.mark.parametrize(
    ("binding", "message"),
    [
        ("Immediate", "pod has unbound immediate PersistentVolumeClaims. "),
        ("WaitForFirstConsumer", "1 node(s) didn't find available persistent volumes to bind. "),
    ],
)
async def test_a_claim_no_volume_is_made_for(cluster: Cluster, binding: str, message: str) -> None:
    await cluster.node("a", labels={ZONE: "us-east-1a"})
    zones = [{"matchLabelExpressions": [{"key": ZONE, "values": ["us-east-1z"]}]}]
    body = {"metadata": {"name": "gp3"}, "provisioner": "ebs.csi.aws.com", "volumeBindingMode": binding}
    await cluster.create(STORAGE_CLASSES, body | {"allowedTopologies": zones})
    await cluster.create(CLAIMS, claim("data", "gp3"))
    said = await said_of(cluster, claiming_pod("p", "data"))
    assert said == await words(cluster.client, f"0/1 nodes are available: {message}" + NOT_HELPFUL.format(1))


async def test_the_schedulers_events_are_of_the_newer_kind(cluster: Cluster) -> None:
    await cluster.create(PODS, asking())
    await cluster.until_that(PODS, "p", refused)
    await cluster.node("a")
    await cluster.until_that(PODS, "p", placed)
    for reason, action, kind in (
        ("FailedScheduling", "Scheduling", "Warning"),
        ("Scheduled", "Binding", "Normal"),
    ):
        event = (await cluster.until(lambda reason=reason: cluster.events(reason), reason))[0]  # type: ignore[misc]
        assert (event["action"], event["type"], event["source"]) == (action, kind, {})
        assert event["reportingComponent"] == "default-scheduler"
        assert event["reportingInstance"].startswith("default-scheduler-")
        assert re.search(r"\.\d{6}Z$", event["eventTime"])
        assert event["firstTimestamp"] is event["lastTimestamp"] is None
        assert "count" not in event
        assert event["involvedObject"]["resourceVersion"]


async def test_another_reason_is_another_event(cluster: Cluster) -> None:
    await cluster.node("a")
    pod = asking(requests={"nvidia.com/gpu": "1"}, nodeSelector={"pool": "gpu"})
    assert "node affinity/selector" in await said_of(cluster, pod)
    await cluster.patch(NODES, "a", {"metadata": {"labels": {"pool": "gpu"}}})
    why = await words(
        cluster.client, "0/1 nodes are available: 1 Insufficient nvidia.com/gpu. " + NOT_HELPFUL.format(1)
    )
    await cluster.until_said("Pod", ("Warning", "FailedScheduling", "default-scheduler", why))
    await cluster.until_that(
        PODS, "p", lambda p: (condition_of(p, "PodScheduled") or {}).get("message") == why
    )
