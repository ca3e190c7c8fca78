"""EC2 instances that join the cluster by themselves, as Karpenter's do: their user data tells nodeadm where and as what."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from botocore.exceptions import BotoCoreError, ClientError

from sandbox.apiclient import ApiError, Object
from sandbox.nodes.addresses import AddressesExhausted
from sandbox.nodes.instance_types import UnknownInstanceType, instance_type
from sandbox.nodes.machine import Machine
from sandbox.nodes.node_config import NoNodeConfig, read_node_config
from sandbox.nodes.node_objects import NodeSpec
from sandbox.nodes.platform import Platform
from sandbox.nodes.timestamps import timestamp

log = logging.getLogger(__name__)

POLL_SECONDS = 1.0
RUNNING = ("pending", "running")
GROUP_TAG = "eks:nodegroup-name"
PASSING = (ApiError, aiohttp.ClientError, TimeoutError, BotoCoreError, ClientError)
WARNING = "EC2 Spot Instance Interruption Warning"


@dataclass
class _Instance:
    """One that is booting, there, or going. `machine` is None until it has booted."""

    identity: str
    machine: Machine | None = None
    going: bool = False
    work: asyncio.Task[None] | None = field(default=None, repr=False)


class Instances:
    """Keeps nodes in step with the instances tagged for the cluster that no node group has made."""

    def __init__(self, platform: Platform, pods: Callable[[str], list[Object]]) -> None:
        self._platform, self._pods = platform, pods
        self._known: dict[str, _Instance] = {}
        self._trouble = ""

    def machines(self) -> list[Machine]:
        return [known.machine for known in self._known.values() if known.machine]

    async def run(self) -> None:
        """For ever. An instance that is there when this begins joins as one that has just been launched."""
        while True:
            try:
                self._follow(await self._describe())
                self._trouble = ""
            except PASSING as error:
                if str(error) != self._trouble:
                    log.warning("instances of %s: %s", self._platform.cluster, error)
                self._trouble = str(error)
            await asyncio.sleep(POLL_SECONDS)

    async def stop(self) -> None:
        """End every process of every node; instances and Node objects stay as they are."""
        tasks = [known.work for known in self._known.values() if known.work]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(machine.stop() for machine in self.machines()))

    async def reclaim(self, machine: Machine, notice: float) -> None:
        """EC2 takes a spot instance back: EventBridge is told, and `notice` seconds later it is terminated."""
        aws, identity = self._platform.aws, machine.spec.instance_id
        machine.leaving = True
        detail = json.dumps({"instance-id": identity, "instance-action": "terminate"})
        entry: Any = {"Source": "aws.ec2", "DetailType": WARNING, "Detail": detail, "Resources": []}
        await aws.call(aws.events.put_events, Entries=[entry])
        known = self._known[identity]
        known.work = asyncio.create_task(self._terminate_after(identity, notice))

    async def _terminate_after(self, identity: str, seconds: float) -> None:
        await asyncio.sleep(seconds)
        aws = self._platform.aws
        try:
            await aws.call(aws.ec2.terminate_instances, InstanceIds=[identity])
        except ClientError as error:
            if error.response["Error"]["Code"] != "InvalidInstanceID.NotFound":
                log.warning("instance %s not terminated: %s", identity, error)

    async def _describe(self) -> dict[str, Any]:
        """The running instances by id."""
        aws, cluster = self._platform.aws, self._platform.cluster
        answer = await aws.call(
            aws.ec2.describe_instances,
            Filters=[
                {"Name": f"tag:kubernetes.io/cluster/{cluster}", "Values": ["owned"]},
                {"Name": "instance-state-name", "Values": list(RUNNING)},
            ],
        )
        found = [i for reservation in answer["Reservations"] for i in reservation["Instances"]]
        return {
            i["InstanceId"]: i for i in found if all(tag["Key"] != GROUP_TAG for tag in i.get("Tags", []))
        }

    def _follow(self, running: dict[str, Any]) -> None:
        for identity, described in running.items():
            if identity not in self._known:
                known = self._known[identity] = _Instance(identity)
                known.work = asyncio.create_task(self._boot(known, described))
        for identity, known in list(self._known.items()):
            if identity not in running and not known.going:
                known.going = True
                launching, known.work = known.work, asyncio.create_task(self._end(known))
                if launching:
                    launching.cancel()

    async def _boot(self, known: _Instance, described: Any) -> None:
        """An instance that cannot join runs on, and costs, without a node: as on EC2."""
        try:
            spec = await self._spec(described)
            await asyncio.sleep(self._platform.settings.node_boot_seconds)
            machine = Machine(self._platform, spec)
            try:
                await machine.start([])
            except BaseException:
                await machine.stop()
                raise
        except (*PASSING, UnknownInstanceType, AddressesExhausted, NoNodeConfig) as error:
            log.warning("instance %s does not join: %s", known.identity, error)
            return
        known.machine = machine
        for pod in self._pods(spec.name):  # bound between the registration and now
            machine.on_pod("ADDED", pod)

    async def _spec(self, described: Any) -> NodeSpec:
        """Raises NoNodeConfig, UnknownInstanceType."""
        platform, aws = self._platform, self._platform.aws
        attribute = await aws.call(
            aws.ec2.describe_instance_attribute, InstanceId=described["InstanceId"], Attribute="userData"
        )
        encoded = (attribute.get("UserData") or {}).get("Value") or ""
        config = read_node_config(base64.b64decode(encoded).decode())
        if config.cluster != platform.cluster:
            raise NoNodeConfig(f"its NodeConfig names the cluster {config.cluster}")
        private = str(described["PrivateIpAddress"]).replace(".", "-")
        region = platform.settings.region
        domain = "ec2.internal" if region == "us-east-1" else f"{region}.compute.internal"
        return NodeSpec(
            name=f"ip-{private}.{domain}",
            instance_id=described["InstanceId"],
            type=instance_type(described["InstanceType"]),
            group="",
            zone=described["Placement"]["AvailabilityZone"],
            region=region,
            subnet=described.get("SubnetId", ""),
            capacity_type="SPOT" if described.get("InstanceLifecycle") == "spot" else "ON_DEMAND",
            image=described["ImageId"],
            labels=config.labels,
            taints=config.taints,
        )

    async def _end(self, known: _Instance) -> None:
        """The instance is gone: so are its pods, and its node, unless a finalizer keeps that."""
        machine = known.machine
        if machine is not None:
            machine.leaving = True
            await machine.stop()
            try:
                await machine.fall_silent(timestamp())
            except PASSING as error:
                if not (isinstance(error, ApiError) and error.code == 404):
                    log.warning("node %s is gone, and still seems to be there: %s", machine.name, error)
            try:
                await machine.remove()
            except PASSING as error:
                log.warning("node %s is gone, and was not cleared away: %s", machine.name, error)
        del self._known[known.identity]
