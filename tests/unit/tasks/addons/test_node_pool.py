from __future__ import annotations

from typing import Any

import pytest
import yaml

from tasks.addons.node_pool import documents, missing, remove_base, subnets
from tests.support.builders import ROOT, an_environment


def environment(**gpu: Any) -> Any:
    return an_environment(
        cluster={"name": "slipway-x", "gpu": {"provisioner": "karpenter", **gpu}}, tags={"team": "ml"}
    )


def made(where: Any, gpus_a_node: int = 1) -> tuple[Any, Any]:
    node_class, pool = documents(where, "eu-west-1b", gpus_a_node, ROOT)
    return node_class["spec"], pool["spec"]


def test_nodes_carry_what_pods_select_and_tolerate() -> None:
    where = environment(
        label_key="a", label_value="b", taint={"key": "t", "value": "v", "effect": "NoExecute"}
    )
    template = made(where)[1]["template"]
    assert template["metadata"]["labels"] == {
        "a": "b",
        "node.kubernetes.io/exclude-from-external-load-balancers": "true",
    }
    assert template["spec"]["taints"] == [{"key": "t", "value": "v", "effect": "NoExecute"}]


def test_startup_taints_are_beside_the_taint_that_stays() -> None:
    starting = {"key": "example.com/not-ready", "effect": "NoExecute"}
    spec = made(environment(startup_taints=[starting]))[1]["template"]["spec"]
    assert spec["startupTaints"] == [{"value": "", **starting}]
    assert [taint["key"] for taint in spec["taints"]] == ["nvidia.com/gpu"]
    assert made(environment())[1]["template"]["spec"]["startupTaints"] == []


def test_the_disk_has_the_size_and_speed_of_the_environment() -> None:
    node_class, _ = made(environment(volume_gib=300, volume_iops=9000, volume_throughput=1000))
    (disk,) = node_class["blockDeviceMappings"]
    assert (disk["ebs"]["volumeSize"], disk["ebs"]["iops"], disk["ebs"]["throughput"]) == (
        "300Gi",
        9000,
        1000,
    )


@pytest.mark.parametrize(
    ("gpu", "types", "capacity"),
    [
        ({"instance_type": "g5.2xlarge"}, ["g5.2xlarge"], ["on-demand"]),
        ({"capacity_type": "SPOT"}, ["g5.2xlarge"], ["spot"]),
        (
            {"alternative_types": ["g6e.2xlarge", "g5.2xlarge"], "capacity_type": "SPOT_OR_ON_DEMAND"},
            ["g5.2xlarge", "g6e.2xlarge"],
            ["spot", "on-demand"],
        ),
    ],
)
def test_instances_are_those_that_the_environment_allows_in_its_one_zone(
    gpu: dict[str, Any], types: list[str], capacity: list[str]
) -> None:
    requirements = made(environment(**gpu))[1]["template"]["spec"]["requirements"]
    assert {each["key"]: each["values"] for each in requirements} == {
        "node.kubernetes.io/instance-type": types,
        "karpenter.sh/capacity-type": capacity,
        "topology.kubernetes.io/zone": ["eu-west-1b"],
    }


def test_other_zones_are_allowed_after_the_first_and_types_above_the_ceiling_are_not() -> None:
    where = an_environment(
        cluster={
            "name": "slipway-x",
            "zones": ["eu-west-1a", "eu-west-1b"],
            "gpu": {"provisioner": "karpenter", "zone": "eu-west-1b", "other_zones": ["eu-west-1a"]},
        }
    )
    _, pool = documents(where, "eu-west-1b", 1, ROOT, ("g6.xlarge",))
    values = {each["key"]: each["values"] for each in requirements_of(pool)}
    assert values["topology.kubernetes.io/zone"] == ["eu-west-1b", "eu-west-1a"]
    assert values["node.kubernetes.io/instance-type"] == ["g6.xlarge"]


def test_the_maximum_is_the_pools_limit_in_nodes_and_gpus() -> None:
    assert made(environment(max=3), gpus_a_node=4)[1]["limits"] == {"nodes": "3", "nvidia.com/gpu": "12"}


def test_a_base_on_demand_is_a_pool_of_its_own_that_fills_first_and_both_keep_to_the_maximum() -> None:
    where = environment(max=5, on_demand_base=2, capacity_type="SPOT")
    _, base, above = documents(where, "eu-west-1b", 4, ROOT)
    assert base["metadata"]["name"] == "slipway-gpu-base"
    assert (base["spec"]["weight"], above["spec"].get("weight")) == (100, None)
    assert (base["spec"]["limits"], above["spec"]["limits"]) == (
        {"nodes": "2", "nvidia.com/gpu": "8"},
        {"nodes": "3", "nvidia.com/gpu": "12"},
    )
    markets = [{r["key"]: r["values"] for r in requirements_of(p)} for p in (base, above)]
    assert [each["karpenter.sh/capacity-type"] for each in markets] == [["on-demand"], ["spot"]]
    assert base["spec"]["template"]["metadata"] == above["spec"]["template"]["metadata"]


def requirements_of(pool: dict[str, Any]) -> Any:
    return pool["spec"]["template"]["spec"]["requirements"]


class Pools:
    """A cluster that has the base's NodePool, or not, with so many NodeClaims."""

    def __init__(self, there: bool, claims: int) -> None:
        self.there, self.claims = there, claims
        self.done: list[Any] = []

    def get(self, api: str, kind: str, name: str) -> Any:
        return {"kind": kind} if self.there and name == "slipway-gpu-base" else None

    def list(self, api: str, kind: str, label_selector: str = "") -> Any:
        return [{}] * self.claims

    def delete(self, api: str, kind: str, name: str) -> bool:
        self.done.append(name)
        return True

    def patch(self, api: str, kind: str, name: str, body: Any) -> None:
        self.done.append(body)


@pytest.mark.parametrize(
    ("base", "there", "claims", "done"),
    [
        (1, True, 0, []),  # the environment has it
        (0, False, 0, []),
        (0, True, 0, ["slipway-gpu-base"]),
        (0, True, 2, [{"spec": {"limits": {"nodes": "0"}}}]),  # its nodes serve: they are not drained
    ],
)
def test_a_base_that_is_no_more_wanted_takes_no_node_from_a_model(
    base: int, there: bool, claims: int, done: list[Any]
) -> None:
    cluster: Any = Pools(there, claims)
    made = documents(environment(on_demand_base=base, capacity_type="SPOT"), "eu-west-1b", 1, ROOT)
    assert bool(remove_base(cluster, made)) is bool(done)
    assert cluster.done == done


def test_only_empty_nodes_are_taken_away_and_none_expires() -> None:
    pool = made(environment(consolidate_after="15m"))[1]
    assert pool["disruption"] == {
        "consolidationPolicy": "WhenEmpty",
        "consolidateAfter": "900s",
        "budgets": [
            {"nodes": "100%", "reasons": ["Empty"]},
            {"nodes": "0", "reasons": ["Drifted", "Underutilized"]},
        ],
    }
    assert pool["template"]["spec"]["expireAfter"] == "Never"


def test_an_instance_is_launched_as_the_node_groups_were_and_found_by_the_inventory() -> None:
    node_class = made(environment(volume_gib=300, ami="al2023@v20261105"))[0]
    assert node_class["role"] == "slipway-x-karpenter-node"
    assert node_class["amiSelectorTerms"] == [{"alias": "al2023@v20261105"}]
    assert node_class["subnetSelectorTerms"] == [{"tags": {"karpenter.sh/discovery": "slipway-x"}}]
    assert node_class["securityGroupSelectorTerms"] == [{"tags": {"aws:eks:cluster-name": "slipway-x"}}]
    assert node_class["tags"]["slipway:environment"] == "staging"
    assert node_class["tags"]["team"] == "ml"
    (disk,) = node_class["blockDeviceMappings"]
    assert (disk["ebs"]["volumeSize"], disk["ebs"]["encrypted"]) == ("300Gi", True)
    assert yaml.safe_load(node_class["userData"])["spec"]["featureGates"] == {"FastImagePull": True}


def test_subnets_that_exist_are_named() -> None:
    where = an_environment(existing={"subnets": ["subnet-0a", "subnet-0b"]})
    assert subnets(where) == [{"id": "subnet-0a"}, {"id": "subnet-0b"}]


def a_pool(ready: bool) -> dict[str, Any]:
    return {"status": {"conditions": [{"type": "Ready", "status": str(ready)}]}}


NO_ROLE = {"type": "InstanceProfileReady", "status": "False", "reason": "Failed", "message": "no role"}


@pytest.mark.parametrize(
    ("replicas", "ready", "lines"),
    [
        (0, True, ["the controller karpenter is not available yet"]),
        (1, True, []),
        (1, False, ["EC2NodeClass slipway-gpu: InstanceProfileReady: Failed: no role"]),
    ],
)
def test_karpenter_is_proven_by_a_node_pool_it_can_use(replicas: int, ready: bool, lines: list[str]) -> None:
    there = {
        "Deployment": {"status": {"availableReplicas": replicas}},
        "NodePool": a_pool(ready),
        "EC2NodeClass": {"status": {"conditions": [NO_ROLE]}},
    }

    class Cluster:
        def get(self, api: str, kind: str, name: str, namespace: str | None = None) -> Any:
            return None if name == "slipway-gpu-base" else there[kind]

    cluster: Any = Cluster()
    assert missing(cluster, "kube-system") == lines
