"""Node groups in EKS become nodes, and go again."""

from __future__ import annotations

import asyncio
import base64
import time
from typing import Any

import pytest

from slipway_sandbox.apiclient import Object
from slipway_sandbox.nodes.instance_types import UnknownInstanceType, instance_type, known
from slipway_sandbox.nodes.membership import Member, Wanted, decide
from tests.nodes.conftest import Region, eventually
from tests.nodes.test_lifecycle import SLEEP, condition, shell

pytestmark = pytest.mark.asyncio(loop_scope="session")
PLUGIN = "nvcr.io/nvidia/k8s-device-plugin:v0.17.0"


def there(group: str, order: int, generation: str = "") -> Member:
    return Member(group, order, machine=object(), generation=generation)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wanted", "members", "launch", "leave"),
    [
        ({"a": 2}, [], {"a": 2}, []),
        ({"a": 1}, [there("a", 1)], {}, []),
        ({"a": 1}, [there("a", 1), there("a", 2)], {}, [1]),
        ({"a": 1}, [there("a", 1), Member("a", 2)], {}, [2]),
        ({}, [there("a", 1)], {}, [1]),
        ({"a": 1}, [Member("a", 1, leaving=True)], {"a": 1}, []),
    ],
)
async def test_what_a_look_at_the_groups_asks_for(
    wanted: dict[str, int], members: list[Member], launch: dict[str, int], leave: list[int]
) -> None:
    change = decide({name: Wanted(size) for name, size in wanted.items()}, members)
    assert +change.launch == launch
    assert [member.order for member in change.leave] == leave


@pytest.mark.parametrize(
    ("members", "launch", "leave"),
    [
        ([there("a", 1, "old"), there("a", 2, "old")], 1, []),
        ([there("a", 1, "old"), there("a", 2, "old"), Member("a", 3, generation="new")], 0, []),
        ([there("a", 1, "old"), there("a", 2, "old"), there("a", 3, "new")], 0, [1]),
        ([there("a", 2, "old"), there("a", 3, "new")], 1, []),
        ([there("a", 3, "new"), there("a", 4, "new")], 0, []),
        ([there("a", 3, "new"), there("a", 4, "new"), there("a", 2, "old")], 0, [2]),
    ],
)
async def test_a_new_version_replaces_one_node_at_a_time(
    members: list[Member], launch: int, leave: list[int]
) -> None:
    change = decide({"a": Wanted(2, "new")}, members)
    assert change.launch["a"] == launch
    assert [member.order for member in change.leave] == leave


async def test_the_table_agrees_with_ec2(region: Region) -> None:
    names = [row.name for row in known()]
    pages = region.aws("ec2").get_paginator("describe_instance_types").paginate(InstanceTypes=names)
    described = {t["InstanceType"]: t for page in pages for t in page["InstanceTypes"]}
    assert set(described) == set(names)
    for row in known():
        ec2 = described[row.name]
        gpus = ec2.get("GpuInfo", {}).get("Gpus", [{"Count": 0, "MemoryInfo": {"SizeInMiB": 0}}])
        network = ec2["NetworkInfo"]
        assert (
            row.vcpus, row.memory_mib, row.gpus, row.gpu_memory_mib, row.network_interfaces, row.addresses_per_interface
        ) == (
            ec2["VCpuInfo"]["DefaultVCpus"],
            ec2["MemoryInfo"]["SizeInMiB"],
            gpus[0]["Count"],
            gpus[0]["MemoryInfo"]["SizeInMiB"],
            network["MaximumNetworkInterfaces"],
            network["Ipv4AddressesPerInterface"],
        ), row.name  # fmt: skip


async def test_allocatable_is_what_eks_leaves() -> None:
    # m5.large, as `kubectl describe node` shows it on EKS: 1930m CPU, 29 pods.
    large = instance_type("m5.large")
    assert large.allocatable()["cpu"] == "1930m"
    assert large.allocatable()["pods"] == "29"
    assert large.reserved_memory_mib == 255 + 11 * 29 + 100


async def test_an_unknown_instance_type_is_refused_by_name() -> None:
    with pytest.raises(UnknownInstanceType, match=r"x9\.mega"):
        instance_type("x9.mega")


async def test_a_kubelet_gives_its_node_the_labels_of_the_launch_templates_user_data(region: Region) -> None:
    config = (
        "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=x\n\n--x\nContent-Type: application/node.eks.aws\n\n"
        "kind: NodeConfig\nspec:\n  kubelet:\n    flags: [--node-labels=node.kubernetes.io/mine=yes]\n--x--\n"
    )
    region.aws("ec2").create_launch_template(
        LaunchTemplateName="labels",
        LaunchTemplateData={"UserData": base64.b64encode(config.encode()).decode()},
    )
    [node] = await region.make_group("labelled", 1, "m6i.large", launchTemplate={"name": "labels"})
    assert node["metadata"]["labels"]["node.kubernetes.io/mine"] == "yes"


async def test_a_node_says_all_that_an_eks_node_says(region: Region) -> None:
    nodes = await region.make_group(
        "said",
        2,
        "m6i.large",
        labels={"pool": "said"},
        taints=[{"key": "only", "value": "said", "effect": "NO_SCHEDULE"}],
        capacityType="SPOT",
    )
    labels = nodes[0]["metadata"]["labels"]
    assert labels["pool"] == "said"
    assert labels["eks.amazonaws.com/capacityType"] == "SPOT"
    assert labels["node.kubernetes.io/instance-type"] == "m6i.large"
    assert nodes[0]["spec"]["providerID"].startswith(f"aws:///{labels['topology.kubernetes.io/zone']}/i-")
    assert {"key": "only", "value": "said", "effect": "NoSchedule"} in nodes[0]["spec"]["taints"]
    zones = {node["metadata"]["labels"]["topology.kubernetes.io/zone"] for node in nodes}
    assert zones == {"us-east-1a", "us-east-1b"}
    ready = await eventually(
        lambda: region.nodes("said"), lambda found: all(condition(n, "Ready") == "True" for n in found)
    )
    assert ready[0]["metadata"]["name"].endswith(".ec2.internal")


async def test_the_official_client_reads_the_nodes(region: Region) -> None:
    from kubernetes import client, config

    def read() -> Any:
        file = region.settings.root / "clusters" / region.cluster / "pod-kubeconfig"
        api = config.new_client_from_config(str(file))
        return client.CoreV1Api(api).list_node().items

    nodes = await asyncio.to_thread(read)
    assert region.node in [node.metadata.name for node in nodes]


async def test_instances_carry_the_tags_a_sweep_looks_for(region: Region) -> None:
    await region.make_group("tagged", 1)
    assert _instances(region, "tagged", "running") == 1
    await region.scale("tagged", 0)
    await eventually(lambda: region.nodes("tagged"), lambda nodes: nodes == [])
    assert _instances(region, "tagged", "running") == 0
    assert _instances(region, "tagged", "terminated") == 1


async def test_a_node_that_goes_ends_its_pods_gracefully(region: Region) -> None:
    node = (await region.make_group("going", 1))[0]["metadata"]["name"]
    script = "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.05; done"
    pod = await region.run(shell(script), node=node)
    await region.until_phase(pod, "Running")
    followed = asyncio.create_task(region.log(pod, follow="true"))
    await asyncio.sleep(0.2)
    await region.scale("going", 0)
    await eventually(lambda: region.nodes("going"), lambda nodes: nodes == [])
    assert await followed == "up\nbye\n"
    assert await region.client.get(region.path("pods", pod)) is None


async def test_a_budget_holds_a_node_up_and_no_longer_than_the_limit(region: Region) -> None:
    [held, _] = [n["metadata"]["name"] for n in await region.make_group("drained", 2)]
    budgets = region.client.path("policy/v1", "poddisruptionbudgets", region.namespace)
    spec = {"minAvailable": 1, "selector": {"matchLabels": {"app": "held"}}}
    await region.client.create(budgets, {"metadata": {"name": "held"}, "spec": spec})
    status = {"currentHealthy": 1, "desiredHealthy": 1, "disruptionsAllowed": 0, "expectedPods": 1}
    await region.client.patch(f"{budgets}/held/status", {"status": {"observedGeneration": 1, **status}})
    pod = await region.run(SLEEP, node=held, labels={"app": "held"})
    await region.until_phase(pod, "Running")
    began = time.monotonic()
    await region.scale("drained", 0)
    await eventually(lambda: region.nodes("drained"), lambda nodes: len(nodes) == 1)
    assert (await region.pod(pod))["metadata"].get("deletionTimestamp") is None
    await eventually(lambda: region.nodes("drained"), lambda nodes: nodes == [])
    assert time.monotonic() - began >= region.settings.drain_seconds
    await region.client.delete(f"{budgets}/held")


async def test_a_new_ami_release_replaces_the_nodes(region: Region) -> None:
    [old] = await region.make_group("release", 1)
    pod = await region.run(SLEEP, node=old["metadata"]["name"])
    await region.until_phase(pod, "Running")
    await asyncio.to_thread(
        region.aws("eks").update_nodegroup_version,
        clusterName=region.cluster,
        nodegroupName="release",
        releaseVersion="1.34.1-20251201",
    )
    await eventually(
        lambda: region.nodes("release"),
        lambda nodes: len(nodes) == 1 and nodes[0]["metadata"]["name"] != old["metadata"]["name"],
    )
    [new] = await region.nodes("release")
    assert new["status"]["nodeInfo"]["kubeletVersion"].startswith("v1.34.1-eks-")
    await region.until_gone(pod)


async def test_labels_and_taints_of_a_group_reach_the_nodes_there_are(region: Region) -> None:
    await region.make_group("marked", 1, labels={"old": "1", "kept": "1"})
    await asyncio.to_thread(
        region.aws("eks").update_nodegroup_config,
        clusterName=region.cluster,
        nodegroupName="marked",
        labels={"addOrUpdateLabels": {"new": "2"}, "removeLabels": ["old"]},
        taints={"addOrUpdateTaints": [{"key": "t", "value": "v", "effect": "NO_EXECUTE"}]},
    )
    [node] = await eventually(
        lambda: region.nodes("marked"), lambda nodes: "new" in nodes[0]["metadata"]["labels"]
    )
    labels = node["metadata"]["labels"]
    assert ("old" in labels, labels["kept"], labels["new"]) == (False, "1", "2")
    assert {"key": "t", "value": "v", "effect": "NoExecute"} in node["spec"]["taints"]


async def test_without_capacity_no_node_comes_until_there_is(region: Region) -> None:
    await region.make_group("scarce", 0, "m7i.large")
    region.faults.set("capacity", target="m7i.large")
    await region.scale("scarce", 1)
    await asyncio.sleep(1.2)
    assert await region.nodes("scarce") == []
    region.faults.clear()
    await eventually(lambda: region.nodes("scarce"), lambda nodes: len(nodes) == 1)


async def test_a_groups_next_type_is_launched_where_the_first_has_no_capacity(region: Region) -> None:
    region.faults.set("capacity", target="m7i.large")
    (node,) = await region.make_group("either", 1, "m7i.large", "m6i.xlarge")
    assert node["metadata"]["labels"]["node.kubernetes.io/instance-type"] == "m6i.xlarge"


async def test_a_node_given_up_while_it_joins_leaves_neither_node_nor_instance(region: Region) -> None:
    await region.make_group("brief", 0)
    region.faults.set("api-slow", target="PATCH nodes", value=1.5)  # registered, and joining for that long
    await region.scale("brief", 1)

    async def running() -> list[Any]:
        tags = [{"Name": "tag:eks:nodegroup-name", "Values": ["brief"]}]
        states = [{"Name": "instance-state-name", "Values": ["pending", "running"]}]
        found = await asyncio.to_thread(region.aws("ec2").describe_instances, Filters=[*tags, *states])
        return list(found["Reservations"])

    await eventually(running, bool)
    await region.until_active("brief")
    await region.scale("brief", 0)
    await eventually(running, lambda instances: not instances, 20)
    await asyncio.sleep(2)  # what was asked of another API server has come about by now
    assert (await region.nodes("brief"), await running()) == ([], [])


async def test_a_lost_node_is_unknown_and_its_pods_unready_until_it_comes_back(region: Region) -> None:
    node = (await region.make_group("losing", 1))[0]["metadata"]["name"]
    pod = await region.run(SLEEP, node=node)
    await region.until_phase(pod, "Running")
    region.faults.set("node-lost", target=node)
    await eventually(lambda: region.nodes("losing"), lambda n: condition(n[0], "Ready") == "Unknown")
    lost = await region.until(pod, lambda p: condition(p, "Ready") == "False")
    assert lost["status"]["phase"] == "Running"
    region.faults.clear()
    await eventually(lambda: region.nodes("losing"), lambda n: condition(n[0], "Ready") == "True")
    back = await region.until(pod, lambda p: condition(p, "Ready") == "True")
    assert back["status"]["containerStatuses"][0]["restartCount"] == 1


async def test_a_reclaimed_spot_node_is_tainted_then_gone_then_replaced(region: Region) -> None:
    before = (await region.make_group("spot", 1))[0]
    name = before["metadata"]["name"]
    region.faults.set("spot-reclaim", target=name, count=1)

    def tainted(nodes: list[Object]) -> bool:
        keys = [t["key"] for n in nodes for t in n["spec"].get("taints") or []]
        return "aws-node-termination-handler/spot-itn" in keys

    await eventually(lambda: region.nodes("spot"), tainted)
    await eventually(lambda: region.nodes("spot"), lambda n: len(n) == 1 and n[0]["metadata"]["name"] != name)


async def test_gpus_appear_with_the_device_plugin_and_go_with_it(region: Region) -> None:
    node = (await region.make_group("gpu", 1, "g5.12xlarge"))[0]["metadata"]["name"]
    path = region.client.path("v1", "nodes", None, node)

    async def gpus() -> Any:
        found = await region.client.get(path)
        assert found is not None
        return found["status"]["allocatable"].get("nvidia.com/gpu")

    assert await gpus() is None
    greedy = await region.run({**SLEEP, "resources": {"limits": {"nvidia.com/gpu": "1"}}}, node=node)
    refused = await region.until_phase(greedy, "Failed")
    assert refused["status"]["reason"] == "UnexpectedAdmissionError"
    plugin = await region.run({"image": PLUGIN}, node=node)
    await eventually(gpus, lambda count: count == "4")
    await eventually(lambda: region.log(plugin), lambda text: "Registered device plugin" in text)
    region.faults.set("gpu-missing", target=node)
    await eventually(gpus, lambda count: count == "0")
    region.faults.clear()
    await eventually(gpus, lambda count: count == "4")
    user = await region.run(
        shell("echo $NVIDIA_VISIBLE_DEVICES", resources={"limits": {"nvidia.com/gpu": "2"}}),
        node=node,
        restartPolicy="Never",
    )
    await region.until_phase(user, "Succeeded")
    assert (await region.log(user)).count("GPU-") == 2
    await region.delete(plugin)
    await eventually(gpus, lambda count: count == "0")


async def test_a_spot_groups_instances_are_spot_instances(region: Region) -> None:
    await region.make_group("cheap", 1, capacityType="SPOT")
    filters = [{"Name": "tag:eks:nodegroup-name", "Values": ["cheap"]}]
    found = region.aws("ec2").describe_instances(Filters=filters)["Reservations"][0]["Instances"][0]
    assert found["InstanceLifecycle"] == "spot"
    await region.scale("cheap", 0)
    await eventually(lambda: region.nodes("cheap"), lambda nodes: not nodes)


def _instances(region: Region, group: str, state: str) -> int:
    filters = [
        {"Name": "tag:eks:cluster-name", "Values": [region.cluster]},
        {"Name": "tag:eks:nodegroup-name", "Values": [group]},
        {"Name": "instance-state-name", "Values": [state]},
    ]
    reservations = region.aws("ec2").describe_instances(Filters=filters)["Reservations"]
    return sum(len(r["Instances"]) for r in reservations)
