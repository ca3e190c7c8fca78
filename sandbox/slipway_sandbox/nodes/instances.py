"""An EC2 instance as a node: what it is, how it boots and joins, how it is let go. The same whoever has launched it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

import aiohttp
from botocore.exceptions import BotoCoreError, ClientError

from slipway_sandbox.apiclient import ApiError, Object
from slipway_sandbox.nodes.instance_types import instance_type
from slipway_sandbox.nodes.machine import Machine
from slipway_sandbox.nodes.node_objects import NodeSpec
from slipway_sandbox.nodes.platform import Platform

log = logging.getLogger(__name__)

RETRY_SECONDS = 0.5
UNANSWERED_SECONDS = 2.0  # how long an answer is waited for before a registration is taken back
PASSING = (ApiError, aiohttp.ClientError, TimeoutError, BotoCoreError, ClientError)
Pods = Callable[[str], list[Object]]  # the pods bound to a node, by its name


def node_spec(
    instance: Mapping[str, Any],
    region: str,
    *,
    labels: Mapping[str, str],
    taints: Sequence[Mapping[str, str]],
    group: str = "",
    version: str = "",
) -> NodeSpec:
    """The node an instance becomes; `instance` as DescribeInstances has it. Raises UnknownInstanceType."""
    private = str(instance["PrivateIpAddress"]).replace(".", "-")
    domain = "ec2.internal" if region == "us-east-1" else f"{region}.compute.internal"
    return NodeSpec(
        name=f"ip-{private}.{domain}",
        instance_id=instance["InstanceId"],
        type=instance_type(instance["InstanceType"]),
        group=group,
        zone=instance["Placement"]["AvailabilityZone"],
        region=region,
        subnet=instance.get("SubnetId", ""),
        capacity_type="SPOT" if instance.get("InstanceLifecycle") == "spot" else "ON_DEMAND",
        image=instance["ImageId"],
        labels=labels,
        taints=taints,
        version=version,
    )


async def boot(platform: Platform, spec: NodeSpec, pods: Pods) -> Machine:
    """A new instance boots and joins the cluster. Given up in the middle it leaves no Node behind.

    Raises PASSING, AddressesExhausted.
    """
    await asyncio.sleep(platform.settings.node_boot_seconds)
    machine = Machine(platform, spec)
    joining = asyncio.create_task(machine.start([]))
    try:
        await asyncio.shield(joining)
    except BaseException:
        # What the API server has been asked may come about yet: only then it can be taken back.
        await asyncio.wait({joining}, timeout=UNANSWERED_SECONDS)
        joining.cancel()
        await asyncio.gather(joining, return_exceptions=True)
        await machine.stop()
        try:
            await machine.remove()
        except PASSING as error:
            log.warning("node %s did not join, and was not cleared away: %s", machine.name, error)
        raise
    for pod in pods(machine.name):  # bound between the registration and now
        machine.on_pod("ADDED", pod)
    return machine


async def terminate(platform: Platform, instance: str) -> None:
    """One that is gone already is no error. Raises botocore's."""
    aws = platform.aws
    try:
        await aws.call(aws.ec2.terminate_instances, InstanceIds=[instance])
    except ClientError as error:
        if error.response["Error"]["Code"] != "InvalidInstanceID.NotFound":
            raise


async def until_done(what: str, step: Callable[[], Awaitable[None]], attempts: int = 20) -> None:
    """Repeat a step of letting a node go through passing failures; the last one is logged and the rest goes on."""
    for left in reversed(range(attempts)):
        try:
            await step()
        except PASSING as error:
            if isinstance(error, ApiError) and error.code == 404:
                return  # the node is gone: nothing is left to be done to it
            if not left:
                log.warning("%s: given up: %s", what, error)
                return
            await asyncio.sleep(RETRY_SECONDS)
        else:
            return


def words_of(error: BaseException) -> str:
    """A timeout says nothing of itself."""
    return str(error) or type(error).__name__


async def follow(what: str, look: Callable[[], Awaitable[None]], seconds: float) -> None:
    """Look for ever, every so many seconds. A failed look passes; the same trouble is logged once."""
    trouble = ""
    while True:
        try:
            await look()
            trouble = ""
        except PASSING as error:
            before, trouble = trouble, words_of(error)
            if trouble != before:
                log.warning("%s: %s", what, trouble)
        await asyncio.sleep(seconds)


async def halt(work: Iterable[asyncio.Task[None] | None], machines: Iterable[Machine]) -> None:
    """End every process of every node; instances and Node objects stay as they are."""
    tasks = [task for task in work if task]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.gather(*(machine.stop() for machine in machines))
