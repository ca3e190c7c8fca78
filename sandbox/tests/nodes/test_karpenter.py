"""Karpenter's controller, our scheduler and our nodes on one API server, EC2 in its own process."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from contextlib import suppress

import boto3
import pytest
import pytest_asyncio
import yaml

from slipway_sandbox.apiclient import Object
from slipway_sandbox.controllers import run_controllers
from slipway_sandbox.images.karpenter.__main__ import run_operator
from slipway_sandbox.images.karpenter.cloud import Cloud, Unavailable
from slipway_sandbox.images.karpenter.state import Timing
from slipway_sandbox.nodes import machine
from slipway_sandbox.settings import Settings
from tests.nodes.conftest import BUSYBOX, Region, control_plane, eventually, nodes_of
from tests.nodes.fleet import (
    CHARTS,
    NODE_CLASSES,
    NODE_POOLS,
    QUEUE,
    Fleet,
    install_karpenter,
    is_initialized,
    made,
    node_class,
    prepare_aws,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")
TIMING = Timing(look=0.1, cloud=0.3, drain=0.1, batch_idle=0.2, batch_max=1.0)


def cloud_of(region: Region) -> Cloud:
    environment = region.settings.aws_environment()
    session = boto3.Session(
        aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
        region_name=environment["AWS_REGION"],
    )
    clock = asyncio.get_running_loop().time
    return Cloud(region.cluster, Unavailable(clock, TIMING.unavailable), session, region.settings.aws_url)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def fleet(settings: Settings) -> AsyncIterator[Fleet]:
    async with control_plane(settings, "karpenter") as region, nodes_of(region):
        group = await asyncio.to_thread(prepare_aws, region)
        await region.make_group("system", 1)
        for file in sorted((CHARTS / "karpenter" / "crds").iterdir()):
            definitions = region.client.path("apiextensions.k8s.io/v1", "customresourcedefinitions")
            await region.client.create(definitions, yaml.safe_load(file.read_text()))
        tasks = [
            asyncio.create_task(run_controllers(region.client, region.faults)),
            asyncio.create_task(run_operator(region.client, cloud_of(region), TIMING, QUEUE)),
        ]
        await eventually(lambda: made(region.client, NODE_CLASSES, node_class(region, group)), bool)
        yield Fleet(region)
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


@pytest.fixture(autouse=True)
def _no_faults(fleet: Fleet) -> None:
    fleet.region.faults.clear()


async def test_a_pod_that_fits_nowhere_gets_a_node_which_goes_when_it_is_empty(fleet: Fleet) -> None:
    await fleet.add_pool("life")
    await fleet.pod("life", "life")
    running = await fleet.region.until_phase("life", "Running", 20)
    claim = await fleet.until_initialized("life")
    (node,) = await fleet.nodes("life")
    assert running["spec"]["nodeName"] == node["metadata"]["name"] == claim["status"]["nodeName"]
    assert (
        node["metadata"]["labels"]["node.kubernetes.io/instance-type"] == "m5.large"
    )  # the cheapest, by name
    assert node["metadata"]["labels"]["topology.kubernetes.io/zone"] in ("us-east-1a", "us-east-1b")
    assert node["metadata"]["labels"]["karpenter.sh/capacity-type"] == "on-demand"
    assert "karpenter.sh/termination" in node["metadata"]["finalizers"]
    assert not node["spec"].get("taints")
    tags = {tag["Key"]: tag["Value"] for tag in (await fleet.instance(claim))["Tags"]}
    assert tags["karpenter.sh/nodepool"] == "life"
    assert tags["karpenter.sh/nodeclaim"] == claim["metadata"]["name"]
    conditions = {c["type"]: c["status"] for c in claim["status"]["conditions"]}
    assert conditions["Ready"] == conditions["Launched"] == conditions["Registered"] == "True"
    said = f"Nominated: Pod should schedule on: nodeclaim/{claim['metadata']['name']}"
    assert said in await fleet.events_of("life")

    await fleet.region.delete("life")
    await fleet.until_gone("life")
    assert await fleet.nodes("life") == []
    assert (await fleet.instance(claim))["State"]["Name"] == "terminated"
    events = await fleet.events_of(claim["metadata"]["name"])
    assert "DisruptionTerminating: Disrupting NodeClaim: Empty" in events


async def test_an_offering_without_capacity_is_left_alone_and_the_next_one_taken(fleet: Fleet) -> None:
    """All on-demand m5.large are refused, in both zones: m6i.large costs the same and comes next."""
    fleet.region.faults.set("capacity", target="m5.large")
    await fleet.add_pool("refused")
    await fleet.pod("refused", "refused")
    await fleet.region.until_phase("refused", "Running", 20)
    (node,) = await fleet.nodes("refused")
    assert node["metadata"]["labels"]["node.kubernetes.io/instance-type"] == "m6i.large"
    await fleet.region.delete("refused")
    await fleet.until_gone("refused")


async def test_a_node_claim_without_any_capacity_goes_with_its_event(fleet: Fleet) -> None:
    fleet.region.faults.set("capacity", target="g6.xlarge")
    only = [
        {"key": "node.kubernetes.io/instance-type", "operator": "In", "values": ["g6.xlarge"]},
        {"key": "karpenter.sh/capacity-type", "operator": "In", "values": ["on-demand"]},
    ]
    await fleet.add_pool("none", only)
    await fleet.add_pool("others")
    await fleet.pod("none", "none")

    async def said() -> list[str]:
        items = await fleet.client.list(fleet.client.path("v1", "events", "default"))
        return [item["message"] for item in items if item["reason"] == "InsufficientCapacityError"]

    found = await eventually(said, bool)
    assert "InsufficientInstanceCapacity: We currently do not have sufficient g6.xlarge capacity" in found[0]
    assert await fleet.nodes("none") == []
    said_of_others = "incompatible requirements, key pool, pool In [none] not in pool In [others]"
    await eventually(
        lambda: fleet.events_of("none"),
        lambda events: any(
            event.startswith("FailedScheduling: Failed to schedule pod, ") and said_of_others in event
            for event in events
        ),
    )
    await fleet.region.delete("none")
    await fleet.until_gone("none")


async def test_limits_hold_the_second_node_back(fleet: Fleet) -> None:
    await fleet.add_pool("limited", limits={"cpu": "2"})
    for number in range(2):
        await fleet.pod(f"limited-{number}", "limited", cpu="1500m")

    async def refused() -> list[str]:
        events = [*await fleet.events_of("limited-0"), *await fleet.events_of("limited-1")]
        return [event for event in events if "exceed limits for nodepool" in event]

    await eventually(refused, bool, 15)
    await fleet.until_initialized("limited")
    assert len(await fleet.claims("limited")) == 1
    status = (await fleet.client.request("GET", f"{NODE_POOLS}/limited"))["status"]
    assert (status["nodes"], status["resources"]["cpu"]) == (1, "2")
    for number in range(2):
        await fleet.region.delete(f"limited-{number}")
    await fleet.until_gone("limited")


async def test_an_instance_that_cannot_register_yet_goes_on_trying_as_a_kubelet_does(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(machine, "WRITE_SECONDS", 0.3)
    fleet.region.faults.set("api-500", target="POST nodes")
    await fleet.add_pool("patient")
    await fleet.pod("patient", "patient")

    async def tried() -> bool:
        return "has not joined yet" in caplog.text

    await eventually(tried, bool, 60)
    assert await fleet.nodes("patient") == []
    fleet.region.faults.clear()
    await fleet.region.until_phase("patient", "Running", 60)
    assert len(await fleet.claims("patient")) == 1  # the same instance, not another one
    await fleet.region.delete("patient")
    await fleet.until_gone("patient")


async def test_an_instance_an_earlier_run_never_wrote_down_is_found_and_ended(fleet: Fleet) -> None:
    """No NodeClaim is there, and no interruption queue: only the first look can find it."""
    region, ec2 = fleet.region, fleet.region.aws("ec2")
    tags = {f"kubernetes.io/cluster/{region.cluster}": "owned", "karpenter.sh/nodeclaim": "lost"}
    answer = await asyncio.to_thread(
        ec2.run_instances,
        ImageId="ami-12c6146b",
        MinCount=1,
        MaxCount=1,
        InstanceType="m5.large",
        SubnetId=region.subnets[0],
        TagSpecifications=[
            {"ResourceType": "instance", "Tags": [{"Key": k, "Value": v} for k, v in tags.items()]}
        ],
    )
    identity = answer["Instances"][0]["InstanceId"]

    async def state() -> str:
        found = await asyncio.to_thread(ec2.describe_instances, InstanceIds=[identity])
        return str(found["Reservations"][0]["Instances"][0]["State"]["Name"])

    timing = dataclasses.replace(TIMING, orphan=0.0)
    started_again = asyncio.create_task(run_operator(fleet.client, cloud_of(region), timing, ""))
    await eventually(state, lambda found: found == "terminated", 25)
    started_again.cancel()
    with suppress(asyncio.CancelledError):
        await started_again


async def test_a_reclaimed_spot_node_is_replaced_after_its_notice(fleet: Fleet) -> None:
    spot = [
        {"key": "karpenter.k8s.aws/instance-family", "operator": "In", "values": ["m7i"]},
        {"key": "karpenter.sh/capacity-type", "operator": "In", "values": ["spot"]},
    ]
    await fleet.add_pool("spot", spot)
    labels = {"labels": {"app": "spot"}}
    replica_set = {
        "metadata": {"name": "spot"},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": labels["labels"]},
            "template": {
                "metadata": labels,
                "spec": {
                    "nodeSelector": {"pool": "spot"},
                    "terminationGracePeriodSeconds": 0,
                    "containers": [{"name": "c", "image": BUSYBOX, "command": ["sleep", "600"]}],
                },
            },
        },
    }
    sets = fleet.client.path("apps/v1", "replicasets", "default")
    await fleet.client.create(sets, replica_set)
    first = await fleet.until_initialized("spot")
    assert (await fleet.instance(first))["InstanceLifecycle"] == "spot"
    fleet.region.faults.set("spot-reclaim", target=first["status"]["nodeName"], count=1)

    def replaced(claims: list[Object]) -> bool:
        return any(is_initialized(c) and c["metadata"]["name"] != first["metadata"]["name"] for c in claims)

    claims = await eventually(lambda: fleet.claims("spot"), replaced, 20)
    second = next(c for c in claims if c["metadata"]["name"] != first["metadata"]["name"])
    events = await fleet.events_of(first["metadata"]["name"])
    assert "SpotInterrupted: Spot interruption warning was triggered" in events
    key = "topology.kubernetes.io/zone"
    first_is, second_is = first["metadata"]["labels"], second["metadata"]["labels"]
    both = (first_is[key], first_is["node.kubernetes.io/instance-type"])
    assert (second_is[key], second_is["node.kubernetes.io/instance-type"]) != both
    await fleet.client.delete(f"{sets}/spot")
    await fleet.until_gone("spot")


async def test_a_deleted_node_is_drained_and_its_instance_terminated(fleet: Fleet) -> None:
    await fleet.add_pool("deleted")
    await fleet.pod("deleted", "deleted", metadata={"annotations": {"karpenter.sh/do-not-disrupt": "false"}})
    await fleet.region.until_phase("deleted", "Running", 20)
    claim = await fleet.until_initialized("deleted")
    await fleet.client.delete(fleet.client.path("v1", "nodes", None, claim["status"]["nodeName"]))
    await fleet.until_gone("deleted")
    assert "Evicted: Evicted pod: NodeClaim terminating" in await fleet.events_of("deleted")
    assert (await fleet.instance(claim))["State"]["Name"] == "terminated"


async def test_do_not_disrupt_keeps_an_empty_node(fleet: Fleet) -> None:
    template = {"expireAfter": "Never"}
    await fleet.add_pool("kept", template=template)
    await fleet.pod("kept", "kept")
    claim = await fleet.until_initialized("kept")
    path = fleet.client.path("v1", "nodes", None, claim["status"]["nodeName"])
    annotated = {"metadata": {"annotations": {"karpenter.sh/do-not-disrupt": "true"}}}
    await fleet.client.patch(path, annotated)
    await fleet.region.delete("kept")
    name = claim["metadata"]["name"]
    await eventually(
        lambda: fleet.events_of(name), lambda events: any("DisruptionBlocked" in e for e in events)
    )
    assert len(await fleet.nodes("kept")) == 1
    await fleet.client.patch(path, {"metadata": {"annotations": {"karpenter.sh/do-not-disrupt": None}}})
    await fleet.until_gone("kept")


async def test_a_startup_taint_holds_initialization_until_somebody_takes_it_away(fleet: Fleet) -> None:
    startup = {"key": "example.com/warming", "effect": "NoSchedule"}
    await fleet.add_pool("warming", template={"startupTaints": [startup]})
    await fleet.pod("warming", "warming")
    (node,) = await eventually(lambda: fleet.nodes("warming"), lambda nodes: len(nodes) == 1, 20)

    def waits(claims: list[Object]) -> bool:
        conditions = claims[0]["status"]["conditions"]
        return any(c["reason"] == "StartupTaintsExist" for c in conditions)

    await eventually(lambda: fleet.claims("warming"), waits)
    await fleet.client.patch(
        fleet.client.path("v1", "nodes", None, node["metadata"]["name"]), {"spec": {"taints": None}}
    )
    await fleet.until_initialized("warming")
    await fleet.region.until_phase("warming", "Running")
    await fleet.region.delete("warming")
    await fleet.until_gone("warming")


async def test_the_charts_pod_does_the_same_with_its_pod_identity(settings: Settings) -> None:
    """The chart by Helm, its controller as a pod; without an association AWS would not know it."""
    async with control_plane(settings, "charted") as region, nodes_of(region):
        await region.make_group("system", 1)
        controllers = asyncio.create_task(run_controllers(region.client, region.faults))
        fleet = Fleet(region)
        served = await region.client.get("/apis/karpenter.sh/v1")
        assert served is None  # nothing of it is there before the chart is
        await install_karpenter(region)
        await fleet.add_pool("charted")
        await fleet.pod("charted", "charted")
        await region.until_phase("charted", "Running", 30)
        await region.delete("charted")
        await fleet.until_gone("charted")
        controllers.cancel()
        with suppress(asyncio.CancelledError):
            await controllers
