"""GPU NodePools end to end: the charts of Karpenter and the device plugin, our scheduler and nodes, AWS by its endpoint."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio

from slipway_sandbox.apiclient import Object
from slipway_sandbox.controllers import run_controllers
from slipway_sandbox.controllers.objects import parse_time
from slipway_sandbox.settings import Settings
from tests.nodes.conftest import control_plane, eventually, nodes_of
from tests.nodes.fleet import (
    NODE_CLAIMS,
    NODE_POOLS,
    Fleet,
    install,
    install_karpenter,
    is_initialized,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")
GPU = "nvidia.com/gpu"
TAINT = {"key": GPU, "value": "true", "effect": "NoSchedule"}
ONE_GPU: Object = {
    "resources": {"limits": {GPU: "1"}},
    "tolerations": [{"key": GPU, "operator": "Exists", "effect": "NoSchedule"}],
}
LONG = 60  # seconds: a bound for a busy machine, not a measure


def requirement(key: str, *values: str) -> Object:
    return {"key": key, "operator": "In", "values": list(values)}


def of_one_gpu(*families: str) -> list[Object]:
    return [
        requirement("karpenter.k8s.aws/instance-category", "g"),
        requirement("karpenter.k8s.aws/instance-family", *families),
        requirement("karpenter.k8s.aws/instance-gpu-count", "1"),
        requirement("karpenter.sh/capacity-type", "on-demand"),
    ]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def fleet(settings: Settings) -> AsyncIterator[Fleet]:
    async with control_plane(settings, "gpus") as region, nodes_of(region):
        await region.make_group("system", 1)
        controllers = asyncio.create_task(run_controllers(region.client, region.faults))
        await install_karpenter(region)
        await asyncio.to_thread(install, region, "nvidia-device-plugin", {})
        yield Fleet(region)
        controllers.cancel()
        with suppress(asyncio.CancelledError):
            await controllers


@pytest_asyncio.fixture(autouse=True, loop_scope="module")
async def _one_test_s_pools(fleet: Fleet) -> AsyncIterator[None]:
    """Karpenter says why of every NodePool there is: each test has its own alone, and no faults."""
    yield
    fleet.region.faults.clear()
    for pool in await fleet.client.list(NODE_POOLS):
        await fleet.client.delete(f"{NODE_POOLS}/{pool['metadata']['name']}")
    await eventually(lambda: fleet.client.list(NODE_CLAIMS), lambda claims: not claims, LONG)


async def add_pool(fleet: Fleet, name: str, *families: str, **spec: Any) -> None:
    """A tainted NodePool of instances with one GPU, labelled as the device plugin's chart looks for them."""
    labels = {"nvidia.com/gpu.present": "true", **spec.pop("labels", {})}
    await fleet.add_pool(name, of_one_gpu(*families), labels, template={"taints": [TAINT]}, **spec)


async def until_said(fleet: Fleet, pod: str, event: str) -> None:
    await eventually(lambda: fleet.events_of(pod), lambda events: event in events, LONG)


def kind_of(node: Object) -> str:
    return str(node["metadata"]["labels"]["node.kubernetes.io/instance-type"])


async def test_a_gpu_pod_gets_a_node_that_goes_a_while_after_it(fleet: Fleet) -> None:
    await add_pool(fleet, "life", "g5", "g6", disruption={"consolidateAfter": "4s"})
    await fleet.pod("intolerant", "life", resources=ONE_GPU["resources"])
    refused = "FailedScheduling: Failed to schedule pod, did not tolerate taint (taint=nvidia.com/gpu=true:NoSchedule)"
    await until_said(fleet, "intolerant", refused)
    assert await fleet.claims("life") == []
    await fleet.region.delete("intolerant", gracePeriodSeconds=0)

    await fleet.pod("life", "life", **ONE_GPU)
    running = await fleet.region.until_phase("life", "Running", LONG)
    claim = await fleet.until_initialized("life")
    (node,) = await fleet.nodes("life")
    assert running["spec"]["nodeName"] == node["metadata"]["name"] == claim["status"]["nodeName"]
    assert kind_of(node) == "g6.xlarge"  # the cheapest with one GPU
    assert node["metadata"]["labels"]["karpenter.k8s.aws/instance-gpu-name"] == "l4"
    assert TAINT in node["spec"]["taints"]
    assert node["status"]["allocatable"][GPU] == claim["status"]["capacity"][GPU] == "1"
    plugins = await fleet.client.list(fleet.client.path("v1", "pods", "kube-system"))
    assert node["metadata"]["name"] in [
        p["spec"].get("nodeName")
        for p in plugins
        if p["metadata"]["labels"].get("app.kubernetes.io/name") == "nvidia-device-plugin"
    ]
    assert (
        f"Nominated: Pod should schedule on: nodeclaim/{claim['metadata']['name']}"
        in await fleet.events_of("life")
    )

    deleted = datetime.now(UTC).replace(microsecond=0)  # as exact as the API's times are
    await fleet.region.delete("life")
    await fleet.until_gone("life")
    assert await fleet.nodes("life") == []
    assert (await fleet.instance(claim))["State"]["Name"] == "terminated"
    events = await fleet.client.list(
        fleet.client.path("v1", "events", "default"),
        fieldSelector=f"involvedObject.name={claim['metadata']['name']}",
    )
    (said,) = [e for e in events if e["reason"] == "DisruptionTerminating"]
    assert said["message"] == "Disrupting NodeClaim: Empty"
    assert parse_time(said["firstTimestamp"]) - deleted >= timedelta(seconds=4)


async def test_a_limit_of_gpus_holds_the_second_node_back_until_it_is_raised(fleet: Fleet) -> None:
    await add_pool(fleet, "scarce", "g6", limits={GPU: "1"})
    names = ("scarce-0", "scarce-1")
    for name in names:
        await fleet.pod(name, "scarce", **ONE_GPU)
    words = "FailedScheduling: Failed to schedule pod, all available instance types exceed limits for nodepool (NodePool=scarce)"

    async def said() -> dict[str, list[str]]:
        return {name: await fleet.events_of(name) for name in names}

    events = await eventually(said, lambda found: any(words in said for said in found.values()), LONG)
    waiting, served = sorted(names, key=lambda name: words not in events[name])
    await fleet.region.until_phase(served, "Running", LONG)
    assert len(await fleet.claims("scarce")) == 1
    assert (await fleet.region.pod(waiting))["status"]["phase"] == "Pending"

    async def used() -> Any:
        status = (await fleet.client.request("GET", f"{NODE_POOLS}/scarce"))["status"]
        return status["nodes"], status["resources"].get(GPU)

    await eventually(used, lambda found: found == (1, "1"), LONG)
    await fleet.client.patch(f"{NODE_POOLS}/scarce", {"spec": {"limits": {GPU: "2"}}})
    await fleet.region.until_phase(waiting, "Running", LONG)
    assert len(await fleet.claims("scarce")) == 2
    for name in names:
        await fleet.region.delete(name)
    await fleet.until_gone("scarce")


async def test_a_limit_of_cpus_below_the_smallest_gpu_node_lets_none_come(fleet: Fleet) -> None:
    await add_pool(fleet, "small", "g5", "g6", limits={"cpu": "3"})
    await fleet.pod("small", "small", **ONE_GPU)
    await until_said(
        fleet,
        "small",
        "FailedScheduling: Failed to schedule pod, all available instance types exceed limits for nodepool (NodePool=small)",
    )
    assert await fleet.claims("small") == []
    await fleet.region.delete("small", gracePeriodSeconds=0)


async def test_without_capacity_the_next_offering_of_the_pool_is_launched(fleet: Fleet) -> None:
    """g6.xlarge is refused in every zone; of what the pool allows g6.2xlarge costs the least then."""
    fleet.region.faults.set("capacity", target="g6.xlarge")
    await add_pool(fleet, "next", "g5", "g6")
    await fleet.pod("next", "next", **ONE_GPU)
    await fleet.region.until_phase("next", "Running", LONG)
    (node,) = await fleet.nodes("next")
    assert kind_of(node) == "g6.2xlarge"
    await fleet.region.delete("next")
    await fleet.until_gone("next")


async def test_a_pool_without_any_capacity_gives_way_to_the_next_pool(fleet: Fleet) -> None:
    """The heavier NodePool's NodeClaim ends with EC2's words; what it named is left alone, so the lighter one serves the pod."""
    fleet.region.faults.set("capacity", target="g4dn.*")
    await add_pool(fleet, "first", "g4dn", weight=10, labels={"either": "yes"})
    await add_pool(fleet, "second", "g5", weight=1, labels={"either": "yes"})
    await fleet.pod("either", "", nodeSelector={"either": "yes"}, **ONE_GPU)
    await fleet.region.until_phase("either", "Running", LONG)
    await fleet.until_initialized("second")
    assert [kind_of(node) for node in await fleet.nodes("second")] == ["g5.xlarge"]
    await fleet.until_gone("first")
    items = await fleet.client.list(fleet.client.path("v1", "events", "default"))
    said = [i["message"] for i in items if i["reason"] == "InsufficientCapacityError"]
    assert any(
        "insufficient capacity, with fleet error(s), InsufficientInstanceCapacity: We currently do not have sufficient g4dn."
        in message
        for message in said
    )
    await fleet.region.delete("either")
    await fleet.until_gone("second")


async def test_without_a_working_gpu_the_node_claim_says_what_it_waits_for(fleet: Fleet) -> None:
    """The driver finds no GPU: the node joins, is never initialized, and the pod is not put there."""
    fleet.region.faults.set("gpu-missing")
    await add_pool(fleet, "broken", "g6")
    await fleet.pod("broken", "broken", **ONE_GPU)

    def lacks(claims: list[Object]) -> bool:
        conditions = [c for claim in claims for c in claim.get("status", {}).get("conditions", [])]
        return any(
            (c["type"], c["reason"], c["message"])
            == ("Initialized", "ResourceNotRegistered", f'Resource "{GPU}" was requested but not registered')
            for c in conditions
        )

    await eventually(lambda: fleet.claims("broken"), lacks, LONG)
    assert (await fleet.region.pod("broken"))["status"]["phase"] == "Pending"
    fleet.region.faults.clear()
    await fleet.region.until_phase("broken", "Running", LONG)
    await eventually(lambda: fleet.claims("broken"), lambda claims: any(map(is_initialized, claims)), LONG)
    await fleet.region.delete("broken")
    await fleet.until_gone("broken")
