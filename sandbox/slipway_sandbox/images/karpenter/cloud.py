"""AWS as Karpenter asks it: the cluster, prices, instances, interruptions. Each method one question or one act, run in a thread."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from slipway_sandbox.controllers.objects import Object
from slipway_sandbox.images.karpenter.claims import Cluster
from slipway_sandbox.images.karpenter.offerings import NODE_CLASS, Offering
from slipway_sandbox.images.karpenter.tags import tag_filter, tag_list

# What EC2 says when it has none to give (pkg/errors/errors.go): the offering is left alone for a while.
UNFULFILLABLE = (
    "InsufficientInstanceCapacity",
    "MaxSpotInstanceCountExceeded",
    "VcpuLimitExceeded",
    "UnfulfillableCapacity",
    "Unsupported",
    "InsufficientFreeAddressesInSubnet",
    "MaxFleetCountExceeded",
)
ALIVE = ("pending", "running")


class InsufficientCapacity(Exception):
    """EC2 has nothing of what the NodeClaim allows."""


class LaunchFailed(Exception):
    """EC2 refused for another reason; it is asked again."""


@dataclass(frozen=True)
class Launched:
    instance: str
    type: str
    zone: str
    capacity_type: str


class Unavailable:
    """Offerings that EC2 has refused or taken back, for `seconds` each, whichever NodeClaim asked."""

    def __init__(self, clock: Callable[[], float], seconds: float) -> None:
        self._clock, self._seconds = clock, seconds
        self._until: dict[tuple[str, str, str], float] = {}

    def mark(self, key: tuple[str, str, str]) -> None:
        self._until[key] = self._clock() + self._seconds

    def left(self, offerings: Iterable[Offering]) -> list[Offering]:
        now = self._clock()
        self._until = {key: until for key, until in self._until.items() if until > now}
        return [offering for offering in offerings if offering.key not in self._until]


class Cloud:
    """Raises botocore's own errors unless a method says otherwise."""

    def __init__(
        self, cluster: str, unavailable: Unavailable, session: Any = None, endpoint: str | None = None
    ) -> None:
        self.cluster, self.unavailable = cluster, unavailable
        self._session: Any = session or boto3.Session()
        self._config = Config(retries={"total_max_attempts": 2}, connect_timeout=2, read_timeout=20)
        self._endpoint = endpoint  # None: as AWS_ENDPOINT_URL says
        self._clients: dict[str, Any] = {}

    def _client(self, service: str) -> Any:
        if service not in self._clients:
            self._clients[service] = self._session.client(
                service, endpoint_url=self._endpoint, config=self._config
            )
        return self._clients[service]

    async def ask(self, service: str, operation: str, **parameters: Any) -> Any:
        """The answer of one call of boto3's."""
        client = await asyncio.to_thread(self._client, service)
        return await asyncio.to_thread(getattr(client, operation), **parameters)

    async def describe_cluster(self) -> tuple[Cluster, str]:
        """What nodes need to join, and the Kubernetes version."""
        found = (await self.ask("eks", "describe_cluster", name=self.cluster))["cluster"]
        network = found.get("kubernetesNetworkConfig") or {}
        joined = Cluster(
            self.cluster,
            found["endpoint"],
            found["certificateAuthority"]["data"],
            network.get("serviceIpv4Cidr", ""),
        )
        return joined, str(found["version"])

    async def prices(self) -> dict[str, float]:
        """On-demand USD an hour by instance type, Linux, shared tenancy."""
        found: dict[str, float] = {}
        token: dict[str, str] = {}
        while True:
            answer = await self.ask(
                "pricing",
                "get_products",
                ServiceCode="AmazonEC2",
                Filters=[{"Type": "TERM_MATCH", "Field": "operatingSystem", "Value": "Linux"}],
                **token,
            )
            for text in answer["PriceList"]:
                entry = json.loads(text)
                kind = entry["product"]["attributes"].get("instanceType")
                for term in entry["terms"]["OnDemand"].values():
                    for dimension in term["priceDimensions"].values():
                        price = float(dimension["pricePerUnit"]["USD"])
                        found[kind] = min(price, found.get(kind, price))
            if not answer.get("NextToken"):
                return found
            token = {"NextToken": answer["NextToken"]}

    # --- instances

    async def launch(
        self, offerings: Sequence[Offering], template: Object, tags: Mapping[str, str]
    ) -> Launched:
        """One instance of the cheapest offering EC2 can give.

        `template`: `data` of a launch template without a type, `class` it is made for, `subnets` by zone.

        Raises InsufficientCapacity, LaunchFailed.
        """
        subnets: dict[str, str] = template["subnets"]  # by zone
        name = await self._launch_template(template["data"], tags)
        capacity_type = offerings[0].capacity_type
        overrides = [
            {"InstanceType": o.type.name, "SubnetId": subnets[o.zone], "AvailabilityZone": o.zone}
            for o in offerings
            if o.zone in subnets
        ]
        strategy = "price-capacity-optimized" if capacity_type == "spot" else "lowest-price"
        options = {"spot": "SpotOptions", "on-demand": "OnDemandOptions"}[capacity_type]
        answer = await self.ask(
            "ec2",
            "create_fleet",
            Type="instant",
            LaunchTemplateConfigs=[
                {
                    "LaunchTemplateSpecification": {"LaunchTemplateName": name, "Version": "$Latest"},
                    "Overrides": overrides,
                }
            ],
            TargetCapacitySpecification={
                "DefaultTargetCapacityType": capacity_type,
                "TotalTargetCapacity": 1,
            },
            TagSpecifications=[
                {"ResourceType": kind, "Tags": tag_list(tags)} for kind in ("instance", "volume", "fleet")
            ],
            **{options: {"AllocationStrategy": strategy}},
        )
        self._learn(answer.get("Errors") or [], capacity_type)
        if not answer.get("Instances"):
            raise _refusal(answer.get("Errors") or [])
        made = answer["Instances"][0]
        zone = made["LaunchTemplateAndOverrides"]["Overrides"]["AvailabilityZone"]
        return Launched(made["InstanceIds"][0], made["InstanceType"], zone, capacity_type)

    def _learn(self, errors: Iterable[Any], capacity_type: str) -> None:
        for error in errors:
            if error["ErrorCode"] in UNFULFILLABLE:
                override = error["LaunchTemplateAndOverrides"]["Overrides"]
                self.unavailable.mark((override["InstanceType"], override["AvailabilityZone"], capacity_type))

    @property
    def region(self) -> str:
        """Of the session, or the one its environment names."""
        return str(self._client("ec2").meta.region_name)

    async def _launch_template(self, data: Object, tags: Mapping[str, str]) -> str:
        """Tagged as the instance is, but for the NodeClaim: it may launch others (pkg/providers/launchtemplate)."""
        digest = hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:19]
        name = f"karpenter.k8s.aws/{digest}"
        kept = {name: value for name, value in tags.items() if name != "karpenter.sh/nodeclaim"}
        try:
            await self.ask(
                "ec2",
                "create_launch_template",
                LaunchTemplateName=name,
                LaunchTemplateData=data,
                TagSpecifications=[{"ResourceType": "launch-template", "Tags": tag_list(kept)}],
            )
        except ClientError as error:
            if error.response["Error"]["Code"] != "InvalidLaunchTemplateName.AlreadyExistsException":
                raise
        return name

    async def delete_launch_templates(self, node_class: str) -> None:
        """Every launch template this controller has made for an EC2NodeClass."""
        filters = [
            tag_filter("eks:eks-cluster-name", self.cluster),
            tag_filter(NODE_CLASS, node_class),
        ]
        for template in (await self.ask("ec2", "describe_launch_templates", Filters=filters))[
            "LaunchTemplates"
        ]:
            await self.ask("ec2", "delete_launch_template", LaunchTemplateId=template["LaunchTemplateId"])

    async def alive(self) -> dict[str, datetime]:
        """When they were launched, by id: the instances of the cluster's NodeClaims that are neither ended nor ending."""
        answer = await self.ask(
            "ec2",
            "describe_instances",
            Filters=[
                tag_filter(f"kubernetes.io/cluster/{self.cluster}", "owned"),
                {"Name": "tag-key", "Values": ["karpenter.sh/nodeclaim"]},
                {"Name": "instance-state-name", "Values": list(ALIVE)},
            ],
        )
        found = [i for reservation in answer["Reservations"] for i in reservation["Instances"]]
        return {i["InstanceId"]: i["LaunchTime"] for i in found}

    async def terminate(self, instance: str) -> None:
        try:
            await self.ask("ec2", "terminate_instances", InstanceIds=[instance])
        except ClientError as error:
            if error.response["Error"]["Code"] != "InvalidInstanceID.NotFound":
                raise

    # --- the interruption queue

    async def interruptions(self, queue: str) -> list[tuple[str, str, str]]:
        """(detail type, instance id, receipt) of up to ten messages, not waited for."""
        url = await self._queue(queue)
        answer = await self.ask(
            "sqs", "receive_message", QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=0
        )
        messages = [(json.loads(m["Body"]), m["ReceiptHandle"]) for m in answer.get("Messages", [])]
        return [
            (body.get("detail-type", ""), str((body.get("detail") or {}).get("instance-id", "")), receipt)
            for body, receipt in messages
        ]

    async def done_with(self, queue: str, receipt: str) -> None:
        await self.ask("sqs", "delete_message", QueueUrl=await self._queue(queue), ReceiptHandle=receipt)

    async def _queue(self, name: str) -> str:
        return str((await self.ask("sqs", "get_queue_url", QueueName=name))["QueueUrl"])


def _refusal(errors: Sequence[Any]) -> Exception:
    said = "; ".join(sorted({f"{e['ErrorCode']}: {e['ErrorMessage']}" for e in errors}))
    if all(error["ErrorCode"] in UNFULFILLABLE for error in errors):
        return InsufficientCapacity(f"insufficient capacity, with fleet error(s), {said}")
    return LaunchFailed(said)
