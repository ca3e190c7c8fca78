"""Read what preflight judges from AWS: account, instance type, zones, quota. Nothing is changed by looking."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from botocore.exceptions import ClientError

from tasks.cloud.aws import Aws, aws_errors, error_code
from tasks.preflight.nodes import MIB, InstanceType
from tasks.preflight.quota import QuotaNeed, quota_code
from tasks.records.environment import Environment
from tasks.records.errors import PreflightFailed

# Zones EKS makes no control plane in; infra/terraform/cluster/network.tf leaves them out.
# https://docs.aws.amazon.com/eks/latest/userguide/network-reqs.html#network-requirements-subnets
NOT_FOR_EKS = frozenset(("use1-az3", "usw1-az2", "cac1-az3"))


@dataclass(frozen=True)
class Facts:
    """What AWS says. `zones` offer the instance type, `zone` is where its nodes will be; `zone_ids`: zone -> its id, which
    is the same in every account; `quota` is None where no quota covers it."""

    account: str
    instance: InstanceType
    zones: tuple[str, ...]
    zone: str
    quota: QuotaNeed | None
    zone_ids: Mapping[str, str] = field(default_factory=dict)


def observe(environment: Environment, aws: Aws) -> Facts:
    """Read account, instance type, zones and quota. Raises AccessDenied, CloudError."""
    gpu = environment.cluster.gpu
    with aws_errors("asking AWS who we are"):
        account = str(aws.client("sts").get_caller_identity()["Account"])
    instance = instance_type(aws, gpu.instance_type)
    with aws_errors("asking where the instance type is offered"):
        offered = aws.client("ec2").describe_instance_type_offerings(
            LocationType="availability-zone",
            Filters=[{"Name": "instance-type", "Values": [gpu.instance_type]}],
        )
    zones = tuple(sorted(offer["Location"] for offer in offered["InstanceTypeOfferings"]))
    ids = zone_ids(aws)
    zone = gpu_zone(environment, ids)
    return Facts(account, instance, zones, zone, quota_need(environment, aws, instance), ids)


def zone_ids(aws: Aws) -> dict[str, str]:
    """Zone name -> zone id of the region's availability zones."""
    with aws_errors("listing the availability zones"):
        found = aws.client("ec2").describe_availability_zones(
            Filters=[
                {"Name": "state", "Values": ["available"]},
                {"Name": "opt-in-status", "Values": ["opt-in-not-required"]},
            ]
        )["AvailabilityZones"]
    return {str(zone["ZoneName"]): str(zone.get("ZoneId", "")) for zone in found}


def gpu_zone(environment: Environment, ids: Mapping[str, str]) -> str:
    """The zone the GPU nodes will be in, as infra/terraform/cluster/network.tf chooses it."""
    cluster = environment.cluster
    if cluster.gpu.zone or cluster.zones:
        return cluster.gpu.zone or cluster.zones[0]
    return min((name for name, zone in ids.items() if zone not in NOT_FOR_EKS), default="")


def instance_type(aws: Aws, name: str) -> InstanceType:
    """An instance type as EC2 describes it. Raises PreflightFailed for one that does not exist in the region."""
    with aws_errors("describing the GPU instance type"):
        try:
            found = aws.client("ec2").describe_instance_types(InstanceTypes=[name])["InstanceTypes"][0]
        except ClientError as error:
            if error_code(error) == "InvalidInstanceType":
                raise PreflightFailed(
                    f"there is no instance type {name} in {aws.region}",
                    next_command="set cluster.gpu.instance_type in the environment's file",
                ) from error
            raise
    return described(found)


def described(found: Mapping[str, Any]) -> InstanceType:
    """One entry of EC2's answer to DescribeInstanceTypes."""
    gpus = (found.get("GpuInfo") or {}).get("Gpus") or []
    network = found["NetworkInfo"]
    return InstanceType(
        name=str(found["InstanceType"]),
        vcpus=int(found["VCpuInfo"]["DefaultVCpus"]),
        memory=int(found["MemoryInfo"]["SizeInMiB"]) * MIB,
        gpus=sum(int(gpu["Count"]) for gpu in gpus),
        gpu_memory=int(gpus[0]["MemoryInfo"]["SizeInMiB"]) * MIB if gpus else 0,
        gpu_name=f"{gpus[0].get('Manufacturer', '')} {gpus[0].get('Name', '')}".strip() if gpus else "no GPU",
        # the VPC CNI's pods: one address of each interface is the interface's own, two pods use the host's
        max_pods=network["MaximumNetworkInterfaces"] * (network["Ipv4AddressesPerInterface"] - 1) + 2,
        architectures=tuple((found.get("ProcessorInfo") or {}).get("SupportedArchitectures") or ()),
    )


def quota_need(environment: Environment, aws: Aws, instance: InstanceType) -> QuotaNeed | None:
    """The vCPU quota the GPU nodes fall under, against what runs already."""
    gpu = environment.cluster.gpu
    code = quota_code(instance.name, gpu.capacity_type)
    if code is None:
        return None
    with aws_errors("reading the GPU vCPU quota"):
        answer = aws.client("service-quotas").get_service_quota(ServiceCode="ec2", QuotaCode=code)
        limit = float(answer["Quota"]["Value"])
        pages = (
            aws.client("ec2")
            .get_paginator("describe_instances")
            .paginate(Filters=[{"Name": "instance-state-name", "Values": ["pending", "running"]}])
        )
        running = [i for page in pages for r in page["Reservations"] for i in r["Instances"]]
    counted = [i for i in running if quota_code(i["InstanceType"], _capacity(i)) == code]
    ours = [i for i in counted if _tag(i, "eks:cluster-name") == environment.cluster.name]
    wanted = max(1, gpu.desired) * instance.vcpus
    return QuotaNeed(
        code=code,
        limit=limit,
        used=sum(_vcpus(i) for i in counted),
        needed=max(0.0, wanted - sum(_vcpus(i) for i in ours)),
    )


def _capacity(instance: Mapping[str, Any]) -> Literal["ON_DEMAND", "SPOT"]:
    return "SPOT" if instance.get("InstanceLifecycle") == "spot" else "ON_DEMAND"


def _vcpus(instance: Mapping[str, Any]) -> float:
    options = instance.get("CpuOptions") or {}
    return float(options.get("CoreCount", 0) * options.get("ThreadsPerCore", 0))


def _tag(instance: Mapping[str, Any], key: str) -> str | None:
    return next((tag["Value"] for tag in instance.get("Tags") or () if tag["Key"] == key), None)
