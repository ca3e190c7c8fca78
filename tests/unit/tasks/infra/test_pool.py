from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from tasks.cloud.waiting import Time
from tasks.infra import pool
from tasks.infra.capacity import Came
from tasks.infra.nodes import ISSUE_SHARE
from tasks.records.errors import CapacityUnavailable, ClusterError
from tests.support.builders import ROOT, a_model, an_environment
from tests.support.clock import Clock
from tests.support.heard import Heard

BOOT = 60.0
GPU = {"provisioner": "karpenter", "max": 2}
CREATED = "2026-11-29T10:00:00Z"
CAME = Came(
    instance_type="g6.xlarge",
    zone="eu-west-1b",
    market="spot",
    at=datetime(2026, 11, 29, 9, 50, tzinfo=UTC),
    refused=("NodeClaim: InsufficientCapacityError",),
)


def environment(**gpu: Any) -> Any:
    return an_environment(cluster={"name": "slipway-x", "gpu": GPU | gpu}, deadlines={"node_boot": BOOT})


@pytest.mark.parametrize(
    ("fewest", "replicas", "bound", "gpus", "gpus_a_node", "pods"),
    [
        (1, None, 0, 1, 1, 1),  # a first deploy
        (1, 0, 0, 1, 1, 1),  # asleep
        (1, 1, 1, 1, 1, 0),  # it runs: nothing to ask for
        (2, 2, 0, 1, 1, 2),
        (1, 2, 1, 1, 1, 1),  # KEDA wants two, one of which has no node
        (1, 5, 0, 1, 1, 2),  # never more than cluster.gpu.max gives
        (1, 5, 0, 2, 4, 4),
        (1, 1, 3, 1, 1, 0),
    ],
)
def test_a_pod_is_asked_for_each_replica_without_a_node(
    fewest: int, replicas: int | None, bound: int, gpus: int, gpus_a_node: int, pods: int
) -> None:
    model = a_model(scaling={"min_replicas": fewest, "max_replicas": 5}, resources={"gpu": gpus})
    workload = None if replicas is None else {"spec": {"replicas": replicas}}
    assert pool.pods_to_ask(environment(), model, workload, bound, gpus_a_node) == pods


def test_the_pods_are_as_large_as_replicas_and_go_where_they_would() -> None:
    where = environment()
    model = a_model(resources={"cpu": "3", "memory": "12Gi", "gpu": 1})
    found = pool.job(where, model, 2, ROOT)
    spec, pod = found["spec"], found["spec"]["template"]["spec"]
    assert (spec["parallelism"], spec["completions"], spec["activeDeadlineSeconds"]) == (2, 2, 120)
    assert pod["nodeSelector"] == where.cluster.gpu.node_selector
    assert pod["tolerations"] == [where.cluster.gpu.taint.toleration]
    assert pod["containers"][0]["resources"] == {
        "requests": {"cpu": "3", "memory": "12Gi", "nvidia.com/gpu": "1"},
        "limits": {"memory": "12Gi", "nvidia.com/gpu": "1"},
    }
    assert found["metadata"]["name"] != pool.job(where, model, 2, ROOT)["metadata"]["name"]


@pytest.mark.parametrize(
    ("gpu", "bound", "came", "required", "preferred"),
    [
        ({}, "", None, [], []),
        ({"zone": "eu-west-1a", "other_zones": ["eu-west-1b"]}, "", None, [], [(50, ["eu-west-1a"])]),
        # one volume for every replica: no other zone will do
        (
            {"zone": "eu-west-1a", "other_zones": ["eu-west-1b"]},
            "eu-west-1b",
            None,
            ["eu-west-1b"],
            [(50, ["eu-west-1a"])],
        ),
        ({}, "", CAME, [], [(100, ["spot", "g6.xlarge", "eu-west-1b"])]),
    ],
)
def test_nodes_are_asked_for_where_the_replicas_can_be_and_where_they_came_last(
    gpu: dict[str, Any], bound: str, came: Any, required: list[str], preferred: list[tuple[int, list[str]]]
) -> None:
    where = an_environment(
        cluster={"name": "slipway-x", "zones": ["eu-west-1a", "eu-west-1b"], "gpu": GPU | gpu}
    )
    pod = pool.job(where, a_model(), 1, ROOT, bound, came)["spec"]["template"]["spec"]
    affinity = pod.get("affinity", {}).get("nodeAffinity", {})
    terms = affinity.get("requiredDuringSchedulingIgnoredDuringExecution", {}).get("nodeSelectorTerms", [])
    assert [e["values"] for term in terms for e in term["matchExpressions"]] == [[zone] for zone in required]
    found = affinity.get("preferredDuringSchedulingIgnoredDuringExecution", [])
    assert [
        (each["weight"], [v for e in each["preference"]["matchExpressions"] for v in e["values"]])
        for each in found
    ] == preferred


@pytest.mark.parametrize(
    ("most", "volume", "zone"),
    [(1, "eu-west-1b", "eu-west-1b"), (1, None, ""), (2, "eu-west-1b", "")],  # two replicas have a clone each
)
def test_a_model_with_one_volume_stays_in_its_zone(most: int, volume: str | None, zone: str) -> None:
    expression = {"key": "topology.ebs.csi.aws.com/zone", "operator": "In", "values": [volume]}
    there: dict[str, Any] = {
        "PersistentVolumeClaim": {"spec": {"volumeName": "pv-1"} if volume else {}},
        "PersistentVolume": {
            "spec": {
                "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}}
            }
        },
    }

    class Cluster:
        def get(self, api: str, kind: str, name: str, namespace: str | None = None) -> Any:
            return there[kind]

    cluster: Any = Cluster()
    model = a_model(scaling={"max_replicas": most})
    assert pool.bound_zone(environment(), model, cluster) == zone


class Karpenter:
    """A cluster whose pods get their nodes after some looks; `says`: events of the pod, written at `at`."""

    def __init__(self, looks: int, says: str = "", at: str = "2026-11-29T10:00:05Z", claims: int = 0) -> None:
        self.looks, self.says, self.at, self.there = looks, says, at, claims
        self.jobs: list[str] = []
        self.deleted: list[str] = []

    def apply(self, document: Any) -> Any:
        self.jobs.append(document["metadata"]["name"])
        return {**document, "metadata": {**document["metadata"], "creationTimestamp": CREATED}}

    def get(self, api: str, kind: str, name: str, namespace: str | None = None) -> Any:
        if kind == "NodePool" and name not in self.deleted:
            return {"kind": kind, "status": {"conditions": [{"type": "Ready", "status": "True"}]}}
        return None

    def list(self, api: str, kind: str, namespace: str | None = None, label_selector: str = "") -> Any:
        if kind == "Job":
            return [{"metadata": {"name": name}} for name in self.jobs]
        if kind == "Pod" and namespace == pool.NAMESPACE:
            self.looks -= 1
            spec = {"nodeName": "gpu-0"} if self.looks < 0 else {}
            return [{"metadata": {"name": "pod", "namespace": namespace}, "spec": spec}]
        if kind == "Node":
            return [
                {
                    "metadata": {"name": "gpu-0"},
                    "status": {"conditions": [{"type": "Ready", "status": "True"}]},
                }
            ]
        if kind == "Event" and self.says and namespace == pool.NAMESPACE:
            return [
                {
                    "involvedObject": {"name": "pod"},
                    "reason": "FailedScheduling",
                    "message": self.says,
                    "lastTimestamp": self.at,
                }
            ]
        if kind == "NodeClaim":
            return [{"metadata": {"name": f"slipway-gpu-{n}"}} for n in range(self.there)]
        return []

    def delete(self, api: str, kind: str, name: str, namespace: str | None = None) -> bool:
        self.deleted.append(name)
        self.jobs = [job for job in self.jobs if job != name]
        if kind == "NodeClaim":
            self.there -= 1
        return True

    def events(self, namespace: str, name: str) -> Any:
        return ["Warning FailedDraining: Failed to drain node, 1 pods are waiting to be evicted"]


def bring(cluster: Any, clock: Clock, heard: Heard) -> Any:
    time = Time(clock, clock.sleep)
    return pool.bring(environment(), a_model(), cluster, 1, ROOT, heard, time=time)


def test_nodes_are_waited_for_and_what_asked_for_them_is_removed(clock: Clock, heard: Heard) -> None:
    cluster = Karpenter(looks=3)
    assert bring(cluster, clock, heard) == ["gpu-0"]
    assert cluster.jobs == []
    assert heard.lines == ["asking Karpenter for nodes for 1 replica", "0 of 1 have a node"]


LIMIT = "Failed to schedule pod, node limits have been exhausted for nodepool (NodePool=slipway-gpu)"


def test_a_refusal_that_stands_ends_the_wait_with_its_cause(clock: Clock, heard: Heard) -> None:
    began, cluster = clock.now, Karpenter(looks=10**6, says=LIMIT)
    with pytest.raises(CapacityUnavailable, match="the NodePool is at its limit") as caught:
        bring(cluster, clock, heard)
    assert caught.value.evidence == (
        "Karpenter: node limits have been exhausted for nodepool (NodePool=slipway-gpu)",
    )
    assert clock.now - began == pytest.approx(BOOT * ISSUE_SHARE, abs=0.5)
    assert cluster.jobs == []


def test_a_refusal_of_before_ends_nothing(clock: Clock, heard: Heard) -> None:
    with pytest.raises(ClusterError, match="no GPU node took a pod within 60 s"):
        bring(Karpenter(looks=10**6, says=LIMIT, at="2026-11-29T09:59:00Z"), clock, heard)


def test_nodes_are_ended_at_once_and_waited_for(clock: Clock, heard: Heard) -> None:
    cluster: Any = Karpenter(0, claims=2)
    pool.take_away(environment(), cluster, heard, time=Time(clock, clock.sleep))
    assert (cluster.there, heard.lines) == (0, ["no GPU node is left"])


def test_nodes_that_stay_are_told_with_what_holds_them(clock: Clock, heard: Heard) -> None:
    cluster: Any = Karpenter(0, claims=9)
    cluster.delete = lambda *_: True
    with pytest.raises(ClusterError, match="GPU nodes did not go away") as caught:
        pool.take_away(environment(), cluster, heard, time=Time(clock, clock.sleep))
    assert any("FailedDraining" in line for line in caught.value.evidence)


def test_the_node_pool_goes_before_its_nodes_and_its_class_after_them(clock: Clock, heard: Heard) -> None:
    cluster: Any = Karpenter(0, claims=1)
    pool.remove(environment(), cluster, heard, time=Time(clock, clock.sleep))
    assert cluster.deleted == ["slipway-gpu", "slipway-gpu-base", "slipway-gpu-0", "slipway-gpu"]


def test_a_claim_says_how_far_it_is() -> None:
    claim: dict[str, Any] = {"metadata": {"name": "a"}}
    assert pool.stage_of(claim) == "a: not launched yet: just made"
    done = [{"type": step, "status": "True"} for step in ("Launched", "Registered")]
    waits = {"type": "Initialized", "status": "Unknown", "message": 'Resource "nvidia.com/gpu" was requested'}
    claim["status"] = {"conditions": [*done, waits]}
    assert pool.stage_of(claim) == 'a: not initialized yet: Resource "nvidia.com/gpu" was requested'
