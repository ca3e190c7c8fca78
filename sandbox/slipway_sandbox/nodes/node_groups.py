"""EKS managed node groups become nodes: EC2 instances launched, registered, drained and terminated as their Auto Scaling would."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from slipway_sandbox.apiclient import Object
from slipway_sandbox.nodes import node_objects
from slipway_sandbox.nodes.addresses import AddressesExhausted
from slipway_sandbox.nodes.instance_types import UnknownInstanceType, instance_type
from slipway_sandbox.nodes.instances import (
    PASSING,
    Pods,
    boot,
    follow,
    halt,
    node_spec,
    terminate,
    until_done,
)
from slipway_sandbox.nodes.machine import Machine
from slipway_sandbox.nodes.membership import Member, Wanted, decide
from slipway_sandbox.nodes.node_config import kubelet_labels
from slipway_sandbox.nodes.platform import Platform

log = logging.getLogger(__name__)

POLL_SECONDS = 0.5
LAUNCH_RETRY_SECONDS = 1.0  # Auto Scaling tries again after a failed launch, in minutes really
# A group in another status (DELETING, CREATE_FAILED …) wants no nodes.
WANTING = ("CREATING", "ACTIVE", "UPDATING", "DEGRADED")
Group = Mapping[str, Any]  # as DescribeNodegroup returns it
# What EC2 says where it has none of a type to give: Auto Scaling goes on to the group's next one.
UNFULFILLABLE = ("InsufficientInstanceCapacity", "VcpuLimitExceeded", "MaxSpotInstanceCountExceeded")


@dataclass(frozen=True)
class Marks:
    """A group's labels and taints, the latter in the form of the Kubernetes API."""

    labels: dict[str, str]
    taints: list[dict[str, str]]


class NodeGroups:
    """Keeps the cluster's nodes in step with its node groups."""

    def __init__(self, platform: Platform, pods: Pods) -> None:
        self._platform, self._pods = platform, pods
        self._members: list[Member] = []
        self._order = 0
        self._retry_at: dict[str, float] = {}
        self._marks: dict[str, Marks] = {}

    def machines(self) -> list[Machine]:
        """Every registered node."""
        return [member.machine for member in self._members if member.machine]

    async def run(self) -> None:
        """Follow the groups for ever."""
        await follow(f"node groups of {self._platform.cluster}", self._look, POLL_SECONDS)

    async def stop(self) -> None:
        await halt([member.work for member in self._members], self.machines())

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

    async def _look(self) -> None:
        groups = await self._describe()
        self._converge(groups)
        await self._mark(groups)

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
                for member in list(self._members):
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
            described = await self._run_instance(member, group)
            instance = described["InstanceId"]
            spec = node_spec(
                described,
                self._platform.settings.region,
                labels={**(group.get("labels") or {}), **await self._kubelet_labels(group)},
                taints=node_objects.kubernetes_taints(group),
                group=group["nodegroupName"],
                version=str(group.get("releaseVersion") or "").partition("-")[0],
            )
            member.machine = await boot(self._platform, spec, self._pods)
        except asyncio.CancelledError:
            await self._give_back(instance)
            raise
        except (*PASSING, UnknownInstanceType, AddressesExhausted) as error:
            log.warning("node group %s: no node: %s", member.group, error)
            await self._give_back(instance)
            self._retry_at[member.group] = asyncio.get_running_loop().time() + LAUNCH_RETRY_SECONDS
            self._members.remove(member)

    async def _run_instance(self, member: Member, group: Group) -> Any:
        """The instance, of the first of the group's types that EC2 has. Raises botocore's errors, UnknownInstanceType."""
        *others, last = await self._instance_types(group)
        for kind in others:
            try:
                return await self._ask(member, group, kind)
            except ClientError as error:
                if error.response["Error"]["Code"] not in UNFULFILLABLE:
                    raise
                log.warning("node group %s: no %s: %s", member.group, kind, error)
        return await self._ask(member, group, last)

    async def _ask(self, member: Member, group: Group, kind: str) -> Any:
        instance_type(kind)  # what cannot become a node is not launched
        aws, cluster = self._platform.aws, self._platform.cluster
        spot = group.get("capacityType") == "SPOT"
        market: dict[str, Any] = {"InstanceMarketOptions": {"MarketType": "spot"}} if spot else {}
        tags = {
            "eks:cluster-name": cluster,
            "eks:nodegroup-name": group["nodegroupName"],
            f"kubernetes.io/cluster/{cluster}": "owned",
        }
        request = asyncio.ensure_future(
            aws.call(
                aws.ec2.run_instances,
                ImageId="ami-12c6146b",  # any: moto knows it, nothing boots from it
                MinCount=1,
                MaxCount=1,
                InstanceType=kind,  # type: ignore[arg-type]  # boto3's stubs list every type by name
                SubnetId=member.subnet,
                TagSpecifications=[
                    {"ResourceType": "instance", "Tags": [{"Key": k, "Value": v} for k, v in tags.items()]}
                ],
                **market,
            )
        )
        try:
            return (await asyncio.shield(request))["Instances"][0]
        except asyncio.CancelledError:
            with contextlib.suppress(
                *PASSING
            ):  # EC2 has been asked: what it launches all the same goes again
                await self._give_back((await request)["Instances"][0]["InstanceId"])
            raise

    async def _instance_types(self, group: Group) -> list[str]:
        """The group's types in the order they are tried, or its launch template's."""
        if types := group.get("instanceTypes"):
            return list(types)
        return [(await self._template_data(group["launchTemplate"]))["InstanceType"]]

    async def _kubelet_labels(self, group: Group) -> dict[str, str]:
        """The labels that the user data of the group's launch template has the kubelet give to its node."""
        template = group.get("launchTemplate")
        encoded = (await self._template_data(template)).get("UserData") if template else None
        return kubelet_labels(base64.b64decode(encoded).decode()) if encoded else {}

    async def _template_data(self, template: Mapping[str, Any]) -> Mapping[str, Any]:
        aws = self._platform.aws
        answer = await aws.call(
            aws.ec2.describe_launch_template_versions,
            LaunchTemplateId=template["id"],
            Versions=[str(template.get("version") or "$Default")],
        )
        return answer["LaunchTemplateVersions"][0]["LaunchTemplateData"]

    # --- going

    def _start_leaving(self, member: Member, taint: Object | None, limit: float | None) -> None:
        launching = member.work
        member.work = asyncio.create_task(self._leave(member, launching, taint, limit))
        if launching:
            launching.cancel()

    async def _leave(
        self, member: Member, launching: asyncio.Task[None] | None, taint: Object | None, limit: float | None
    ) -> None:
        if launching:
            await asyncio.gather(launching, return_exceptions=True)
        if machine := member.machine:
            await self._end(machine, taint, limit)
        if member in self._members:  # a launch that failed meanwhile has let go of it
            self._members.remove(member)

    async def _end(self, machine: Machine, taint: Object | None, limit: float | None) -> None:
        machine.leaving = True
        what = f"node {machine.name} leaves"
        await until_done(what, lambda: machine.cordon(taint))
        if not machine.lost:
            began = asyncio.get_running_loop().time()
            await machine.drain(limit)
            if limit is not None:  # a spot instance stays until its time has come
                await asyncio.sleep(max(0.0, limit - (asyncio.get_running_loop().time() - began)))
        await machine.stop()
        await until_done(what, lambda: terminate(self._platform, machine.spec.instance_id))
        await until_done(what, machine.remove)

    async def _give_back(self, instance: str) -> None:
        """Terminate what did not become a node; nothing where none was launched."""
        if instance:
            await until_done(
                f"instance {instance} is given back", lambda: terminate(self._platform, instance)
            )


def generation_of(group: Group) -> str:
    """What a group's instances are launched from: EKS replaces them all when it changes."""
    template = group.get("launchTemplate") or {}
    return f"{group.get('releaseVersion')} {template.get('id')} {template.get('version')}"
