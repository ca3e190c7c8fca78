"""Self-managed nodes: EC2 instances that join the cluster as their user data tells nodeadm, as Karpenter's do."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from dataclasses import dataclass, field
from typing import Any

from slipway_sandbox.nodes.addresses import AddressesExhausted
from slipway_sandbox.nodes.instance_types import UnknownInstanceType
from slipway_sandbox.nodes.instances import (
    PASSING,
    RETRY_SECONDS,
    Pods,
    boot,
    follow,
    halt,
    node_spec,
    terminate,
    until_done,
    words_of,
)
from slipway_sandbox.nodes.machine import Machine
from slipway_sandbox.nodes.node_config import NoNodeConfig, read_node_config
from slipway_sandbox.nodes.node_objects import NodeSpec
from slipway_sandbox.nodes.platform import Platform
from slipway_sandbox.nodes.timestamps import timestamp

log = logging.getLogger(__name__)

POLL_SECONDS = 1.0
RUNNING = ("pending", "running")
GROUP_TAG = "eks:nodegroup-name"
WARNING = "EC2 Spot Instance Interruption Warning"


@dataclass
class _Instance:
    """One that is booting, there, or going. `machine` is None until it has booted."""

    identity: str
    machine: Machine | None = None
    leaving: bool = False
    work: asyncio.Task[None] | None = field(default=None, repr=False)


class SelfManagedNodes:
    """Keeps nodes in step with the instances tagged for the cluster that no node group has made."""

    def __init__(self, platform: Platform, pods: Pods) -> None:
        self._platform, self._pods = platform, pods
        self._known: dict[str, _Instance] = {}

    def machines(self) -> list[Machine]:
        return [known.machine for known in self._known.values() if known.machine]

    async def run(self) -> None:
        """For ever. An instance that is there when this begins joins as one that has just been launched."""
        await follow(f"instances of {self._platform.cluster}", self._look, POLL_SECONDS)

    async def stop(self) -> None:
        await halt([known.work for known in self._known.values()], self.machines())

    async def reclaim(self, machine: Machine, notice: float) -> None:
        """EC2 takes a spot instance back: EventBridge is told, and `notice` seconds later it is terminated."""
        aws, identity = self._platform.aws, machine.spec.instance_id
        machine.leaving = True
        detail = json.dumps({"instance-id": identity, "instance-action": "terminate"})
        entry: Any = {"Source": "aws.ec2", "DetailType": WARNING, "Detail": detail, "Resources": []}
        await aws.call(aws.events.put_events, Entries=[entry])
        self._known[identity].work = asyncio.create_task(self._terminate_after(machine, notice))

    async def _terminate_after(self, machine: Machine, seconds: float) -> None:
        await asyncio.sleep(seconds)
        identity = machine.spec.instance_id
        await until_done(f"instance {identity} is reclaimed", lambda: terminate(self._platform, identity))

    async def _look(self) -> None:
        running = await self._describe()
        for identity, instance in running.items():
            if identity not in self._known:
                known = self._known[identity] = _Instance(identity)
                known.work = asyncio.create_task(self._boot(known, instance))
        for identity, known in self._known.items():
            if identity not in running and not known.leaving:
                known.leaving = True
                before, known.work = known.work, asyncio.create_task(self._leave(known, known.work))
                if before:
                    before.cancel()

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

    async def _boot(self, known: _Instance, instance: Any) -> None:
        """One that cannot join runs on, and costs, without a node: as on EC2. What passes is tried again, as a kubelet does."""
        trouble = ""
        while True:
            try:
                spec = await self._spec(instance)
                known.machine = await boot(self._platform, spec, self._pods)
            except PASSING as error:
                before, trouble = trouble, words_of(error)
                if trouble != before:
                    log.warning("instance %s has not joined yet: %s", known.identity, trouble)
                await asyncio.sleep(RETRY_SECONDS)
            except (UnknownInstanceType, AddressesExhausted, NoNodeConfig) as error:
                log.warning("instance %s does not join: %s", known.identity, error)
                return
            else:
                return

    async def _spec(self, instance: Any) -> NodeSpec:
        """Raises NoNodeConfig, UnknownInstanceType."""
        platform, aws = self._platform, self._platform.aws
        attribute = await aws.call(
            aws.ec2.describe_instance_attribute, InstanceId=instance["InstanceId"], Attribute="userData"
        )
        encoded = (attribute.get("UserData") or {}).get("Value") or ""
        config = read_node_config(base64.b64decode(encoded).decode(errors="replace"))
        if config.cluster != platform.cluster:
            raise NoNodeConfig(f"its NodeConfig names the cluster {config.cluster}")
        return node_spec(instance, platform.settings.region, labels=config.labels, taints=config.taints)

    async def _leave(self, known: _Instance, before: asyncio.Task[None] | None) -> None:
        """The instance is gone: so are its pods, and its node, unless a finalizer keeps that."""
        if before:
            await asyncio.gather(before, return_exceptions=True)
        if machine := known.machine:
            machine.leaving = True
            await machine.stop()
            what = f"node {machine.name} is gone"
            await until_done(what, lambda: machine.fall_silent(timestamp()))
            await until_done(what, machine.remove)
        del self._known[known.identity]
