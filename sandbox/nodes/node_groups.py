"""EKS managed node groups become nodes: EC2 instances launched, registered, drained and terminated as their Auto Scaling would."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
from botocore.exceptions import BotoCoreError, ClientError

from sandbox.apiclient import ApiError, Object
from sandbox.nodes import node_objects
from sandbox.nodes.addresses import AddressesExhausted
from sandbox.nodes.faulty import is_on
from sandbox.nodes.instance_types import InstanceType, UnknownInstanceType, instance_type
from sandbox.nodes.machine import Machine
from sandbox.nodes.membership import Member, Wanted, decide
from sandbox.nodes.node_objects import NodeSpec
from sandbox.nodes.platform import Platform

log = logging.getLogger(__name__)

POLL_SECONDS = 0.5
LAUNCH_RETRY_SECONDS = 1.0  # Auto Scaling tries again after a failed launch, in minutes really
# A group in another status (DELETING, CREATE_FAILED …) wants no nodes.
WANTING = ("CREATING", "ACTIVE", "UPDATING", "DEGRADED")
Group = Mapping[str, Any]  # as DescribeNodegroup returns it
PASSING = (ApiError, aiohttp.ClientError, TimeoutError, BotoCoreError, ClientError)


@dataclass(frozen=True)
class Marks:
    """A group's labels and taints, the latter in the form of the Kubernetes API."""

    labels: dict[str, str]
    taints: list[dict[str, str]]


class NodeGroups:
    """Keeps the cluster's nodes in step with its node groups. `pods` gives the pods bound to a node."""

    def __init__(self, platform: Platform, pods: Callable[[str], list[Object]]) -> None:
        self._platform, self._pods = platform, pods
        self._members: list[Member] = []
        self._order = 0
        self._retry_at: dict[str, float] = {}
        self._marks: dict[str, Marks] = {}
        self._trouble = ""

    def machines(self) -> list[Machine]:
        """Every registered node."""
        return [member.machine for member in self._members if member.machine]

    def machine(self, name: str) -> Machine | None:
        return next((m for m in self.machines() if m.name == name), None)

    async def run(self) -> None:
        """Adopt the nodes that are there, then follow the groups for ever."""
        adopted = False
        while True:
            try:
                groups = await self._describe()
                if not adopted:
                    await self._adopt()
                    adopted = True
                self._converge(groups)
                await self._mark(groups)
                self._trouble = ""
            except PASSING as error:
                if str(error) != self._trouble:
                    log.warning("node groups of %s: %s", self._platform.cluster, error)
                self._trouble = str(error)
            await asyncio.sleep(POLL_SECONDS)

    async def stop(self) -> None:
        """End every process of every node; instances and Node objects stay as they are."""
        tasks = [m.work for m in self._members if m.work]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(machine.stop() for machine in self.machines()))

    async def reclaim(self, machine: Machine, notice: float) -> None:
        """EC2 takes a spot instance back `notice` seconds after saying so; its group then launches another."""
        member = next(m for m in self._members if m.machine is machine)
        if member.leaving:
            return
        member.leaving = machine.leaving = True
        self._platform.record(
            {"kind": "Node", "apiVersion": "v1", "metadata": {"name": machine.name}},
            "Warning",
            "SpotInterruption",
            f"Spot Interruption event received. Instance {machine.spec.instance_id} will be interrupted",
            component="aws-node-termination-handler",
            host=machine.name,
        )
        taint = {"key": "aws-node-termination-handler/spot-itn", "value": "true", "effect": "NoSchedule"}
        self._start_leaving(member, taint, notice)

    # --- what is wanted

    async def _describe(self) -> dict[str, Group]:
        aws, cluster = self._platform.aws, self._platform.cluster
        groups: dict[str, Group] = {}
        try:
            names = (await aws.call(aws.eks.list_nodegroups, clusterName=cluster))["nodegroups"]
        except ClientError as error:
            if error.response["Error"]["Code"] == "ResourceNotFoundException":
                return groups
            raise
        for name in names:
            try:
                answer = await aws.call(aws.eks.describe_nodegroup, clusterName=cluster, nodegroupName=name)
            except ClientError as error:
                if error.response["Error"]["Code"] == "ResourceNotFoundException":
                    continue  # deleted between the two calls
                raise
            groups[name] = answer["nodegroup"]
        return groups

    def _converge(self, groups: Mapping[str, Group]) -> None:
        wanted = {
            name: Wanted(int(group["scalingConfig"]["desiredSize"]), generation_of(group))
            for name, group in groups.items()
            if group["status"] in WANTING
        }
        change = decide(wanted, self._members)
        now = asyncio.get_running_loop().time()
        for name, count in change.launch.items():
            if now < self._retry_at.get(name, 0.0):
                continue
            for _ in range(count):
                self._order += 1
                subnet, generation = self._next_subnet(groups[name]), generation_of(groups[name])
                member = Member(name, self._order, subnet, generation=generation)
                self._members.append(member)
                member.work = asyncio.create_task(self._launch(member, groups[name]))
        for member in change.leave:
            member.leaving = True
            self._start_leaving(member, None, None)

    async def _mark(self, groups: Mapping[str, Group]) -> None:
        """Labels and taints changed in EKS are changed on the nodes there are; what others put there is left alone."""
        for name, group in groups.items():
            marks = Marks(dict(group.get("labels") or {}), node_objects.kubernetes_taints(group))
            before = self._marks.get(name, marks)
            if marks != before:
                for member in self._members:
                    if member.group == name and member.machine:
                        await member.machine.mark(before.labels, marks.labels, before.taints, marks.taints)
            self._marks[name] = marks

    def _next_subnet(self, group: Group) -> str:
        """Instances are spread over the group's subnets, and so over its zones."""
        taken = Counter(m.subnet for m in self._members if m.group == group["nodegroupName"])
        subnets: list[str] = group["subnets"]
        return min(subnets, key=lambda subnet: taken[subnet])

    # --- coming

    async def _launch(self, member: Member, group: Group) -> None:
        instance = ""
        try:
            spec = await self._instance(member, group)
            instance = spec.instance_id
            await asyncio.sleep(self._platform.settings.node_boot_seconds)
            await self._register(member, spec)
        except asyncio.CancelledError:
            await self._terminate(instance)
            raise
        except (*PASSING, Refused, UnknownInstanceType, AddressesExhausted) as error:
            log.warning("node group %s: no node: %s", member.group, error)
            self._retry_at[member.group] = asyncio.get_running_loop().time() + LAUNCH_RETRY_SECONDS
            self._members.remove(member)
            await self._terminate(instance)

    async def _instance(self, member: Member, group: Group) -> NodeSpec:
        """Run the EC2 instance. Raises Refused where EC2 has none to give."""
        platform, aws = self._platform, self._platform.aws
        kind = await self._instance_type(group)
        if platform.faults.hit("capacity", target=kind.name):
            raise Refused(f"InsufficientInstanceCapacity: no capacity for {kind.name}")
        if kind.gpus and is_on(platform.faults, "quota-zero", ""):
            raise Refused("VcpuLimitExceeded: the vCPU limit of this instance family is 0")
        name, cluster = group["nodegroupName"], platform.cluster
        spot = group.get("capacityType") == "SPOT"
        market: dict[str, Any] = {"InstanceMarketOptions": {"MarketType": "spot"}} if spot else {}
        tags = {
            "eks:cluster-name": cluster,
            "eks:nodegroup-name": name,
            f"kubernetes.io/cluster/{cluster}": "owned",
        }
        answer = await aws.call(
            aws.ec2.run_instances,
            ImageId="ami-12c6146b",  # any: moto knows it, nothing boots from it
            MinCount=1,
            MaxCount=1,
            InstanceType=kind.name,  # type: ignore[arg-type]  # boto3's stubs list every type by name
            SubnetId=member.subnet,
            TagSpecifications=[
                {"ResourceType": "instance", "Tags": [{"Key": k, "Value": v} for k, v in tags.items()]}
            ],
            **market,
        )
        instance = answer["Instances"][0]
        private = str(instance["PrivateIpAddress"]).replace(".", "-")
        region = platform.settings.region
        domain = "ec2.internal" if region == "us-east-1" else f"{region}.compute.internal"
        return NodeSpec(
            name=f"ip-{private}.{domain}",
            instance_id=instance["InstanceId"],
            type=kind,
            group=name,
            zone=instance["Placement"]["AvailabilityZone"],
            region=region,
            subnet=member.subnet,
            capacity_type=group.get("capacityType") or "ON_DEMAND",
            image=instance["ImageId"],
            labels=group.get("labels") or {},
            taints=node_objects.kubernetes_taints(group),
            version=str(group.get("releaseVersion") or "").partition("-")[0],
        )

    async def _instance_type(self, group: Group) -> InstanceType:
        """The group's first type, or its launch template's."""
        if types := group.get("instanceTypes"):
            return instance_type(types[0])
        aws, template = self._platform.aws, group["launchTemplate"]
        answer = await aws.call(
            aws.ec2.describe_launch_template_versions,
            LaunchTemplateId=template["id"],
            Versions=[str(template.get("version") or "$Default")],
        )
        return instance_type(answer["LaunchTemplateVersions"][0]["LaunchTemplateData"]["InstanceType"])

    async def _register(self, member: Member, spec: NodeSpec) -> None:
        machine = Machine(self._platform, spec)
        try:
            await machine.start([])
        except BaseException:
            await machine.stop()
            raise
        member.machine = machine
        for pod in self._pods(spec.name):  # bound between the registration and now
            machine.on_pod("ADDED", pod)

    async def _adopt(self) -> None:
        """Nodes an earlier run of this program left in the cluster: their instances live on, their pods start anew."""
        client = self._platform.client
        known = {machine.name for machine in self.machines()}
        for node in await client.list(client.path("v1", "nodes"), labelSelector=node_objects.GROUP_LABEL):
            if node["metadata"]["name"] in known:
                continue
            spec = _spec_of(node, self._platform.settings.region)
            self._order += 1
            member = Member(spec.group, self._order)
            await self._register(member, spec)
            self._members.append(member)

    # --- going

    def _start_leaving(self, member: Member, taint: Object | None, limit: float | None) -> None:
        task = asyncio.create_task(self._leave(member, taint, limit))
        launching, member.work = member.work, task
        if launching and not launching.done():
            launching.cancel()

    async def _leave(self, member: Member, taint: Object | None, limit: float | None) -> None:
        machine = member.machine
        if machine is None:
            self._members.remove(member)
            return
        machine.leaving = True
        await self._until_done(lambda: machine.cordon(taint))
        if not machine.lost:
            began = asyncio.get_running_loop().time()
            await machine.drain(limit)
            if limit is not None:  # a spot instance stays until its time has come
                await asyncio.sleep(max(0.0, limit - (asyncio.get_running_loop().time() - began)))
        await machine.stop()
        await self._until_done(lambda: self._terminate(machine.spec.instance_id))
        await self._until_done(machine.remove)
        self._members.remove(member)

    async def _until_done(self, step: Callable[[], Any], attempts: int = 20) -> None:
        """Repeat a step of leaving through passing failures; the last one is logged and the leaving goes on."""
        for attempt in range(attempts):
            try:
                await step()
            except PASSING as error:
                if attempt == attempts - 1 or (isinstance(error, ApiError) and error.code == 404):
                    log.warning("a node of %s leaves without: %s", self._platform.cluster, error)
                    return
                await asyncio.sleep(POLL_SECONDS)
            else:
                return

    async def _terminate(self, instance: str) -> None:
        if not instance:
            return
        aws = self._platform.aws
        try:
            await aws.call(aws.ec2.terminate_instances, InstanceIds=[instance])
        except ClientError as error:
            if error.response["Error"]["Code"] != "InvalidInstanceID.NotFound":
                raise


def generation_of(group: Group) -> str:
    """What a group's instances are launched from: EKS replaces them all when it changes."""
    template = group.get("launchTemplate") or {}
    return f"{group.get('releaseVersion')} {template.get('id')} {template.get('version')}"


class Refused(Exception):
    """EC2 launches no instance."""


def _spec_of(node: Object, region: str) -> NodeSpec:
    """What a Node object says of its instance."""
    labels = node["metadata"]["labels"]
    return NodeSpec(
        name=node["metadata"]["name"],
        instance_id=node["spec"]["providerID"].rpartition("/")[2],
        type=instance_type(labels[node_objects.TYPE_LABEL]),
        group=labels[node_objects.GROUP_LABEL],
        zone=labels[node_objects.ZONE_LABEL],
        region=region,
        capacity_type=labels.get(node_objects.CAPACITY_LABEL, "ON_DEMAND"),
        labels=labels,
        taints=node["spec"].get("taints") or [],
    )
