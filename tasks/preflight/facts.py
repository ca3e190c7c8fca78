"""Read what preflight judges from AWS: account, instance type, zones, quota. Nothing is changed by looking."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from botocore.exceptions import ClientError

from tasks.cloud.aws import Aws, aws_errors, error_code
from tasks.cloud.image_pull import read_once
from tasks.cloud.node_image import recommended_release
from tasks.cloud.prices import Prices
from tasks.cloud.registry import Image
from tasks.cloud.spot_prices import SpotPrices
from tasks.preflight import front_door
from tasks.preflight.cost import hourly_prices, spot_prices_now
from tasks.preflight.existing import existing_rows
from tasks.preflight.front_door import Certificate
from tasks.preflight.network_quota import Need, network_needs
from tasks.preflight.nodes import MIB, InstanceType
from tasks.preflight.quota import QuotaNeed, limit_of, quota_code
from tasks.preflight.rights import Probe, lacking
from tasks.preflight.rows import Row
from tasks.preflight.volume_key import AWS_MANAGED, default_volume_key
from tasks.records.environment import Environment
from tasks.records.errors import PreflightFailed
from tasks.records.model import Model
from tasks.records.names import ENVIRONMENT_TAG
from tasks.records.node_count import nodes_for, replicas_a_node

# Zones EKS makes no control plane in; infra/terraform/cluster/network.tf leaves them out.
# https://docs.aws.amazon.com/eks/latest/userguide/network-reqs.html#network-requirements-subnets
NOT_FOR_EKS = frozenset(("use1-az3", "usw1-az2", "cac1-az3"))


@dataclass(frozen=True)
class Support:
    """EKS's support of a Kubernetes version: STANDARD_SUPPORT, EXTENDED_SUPPORT or UNSUPPORTED; the day standard support ends."""

    status: str
    standard_until: str


@dataclass(frozen=True)
class Facts:
    """What AWS says. `zones` offer the instance type, `zone` is where its nodes will be; `zone_ids`: zone -> its id, which
    is the same in every account; `quota` is None where no quota covers it; `support` is None for a Kubernetes version EKS
    does not know; `foreign_buckets`: bucket -> why it is somebody else's; `network`: the quotas of a VPC; `prices`: of what a
    deploy makes; `volume_key`: the account's default key of volumes; `node_release`: of EKS's GPU
    image; `image`: what the registry says of the engine's; `existing`: the rows of what exists already; `denied`: rights
    that terraform lacks, None where they were not asked for; `certificate`: the gateway's, None without TLS;
    `alternatives`: the other types that a node may be of."""

    account: str
    instance: InstanceType
    zones: tuple[str, ...]
    zone: str
    quota: QuotaNeed | None
    zone_ids: Mapping[str, str] = field(default_factory=dict)
    support: Support | None = None
    foreign_buckets: Mapping[str, str] = field(default_factory=dict)
    network: Sequence[Need] = ()
    prices: Prices = field(default_factory=lambda: Prices({}, "not asked"))
    spot: SpotPrices = field(default_factory=SpotPrices)
    volume_key: str = AWS_MANAGED
    node_release: str = ""
    image: Image = field(default_factory=lambda: Image(unknown="not asked"))
    existing: Mapping[str, Row] = field(default_factory=dict)
    denied: Sequence[Probe] | None = ()
    certificate: Certificate | None = None
    alternatives: Sequence[InstanceType] = ()


def observe(environment: Environment, aws: Aws, model: Model, *, as_reader: bool = False) -> Facts:
    """Read account, buckets, Kubernetes version, instance type, zones, quotas, prices, node and engine image.

    `as_reader`: who asks does not deploy, and its rights are not asked for. Raises AccessDenied, CloudError.
    """
    gpu = environment.cluster.gpu
    account = aws.account
    instance = instance_type(aws, gpu.instance_type)
    with aws_errors("asking where the instance type is offered"):
        offered = aws.client("ec2").describe_instance_type_offerings(
            LocationType="availability-zone",
            Filters=[{"Name": "instance-type", "Values": [gpu.instance_type]}],
        )
    zones = tuple(sorted(offer["Location"] for offer in offered["InstanceTypeOfferings"]))
    ids = zone_ids(aws)
    rows, network = existing_rows(environment, aws)
    zone = gpu_zone(environment, ids, network.zones if network else ())
    return Facts(
        account=account,
        instance=instance,
        zones=zones,
        zone=zone,
        quota=quota_need(environment, aws, instance, first_nodes(model, instance)),
        zone_ids=ids,
        support=support_of(environment.cluster.kubernetes_version, aws),
        foreign_buckets=foreign_buckets(environment, aws),
        network=network_needs(environment, aws),
        prices=hourly_prices(environment, aws),
        spot=spot_prices_now(environment, aws),
        volume_key=default_volume_key(aws),
        node_release=recommended_release(aws, environment.cluster.kubernetes_version),
        image=read_once(model.engine.image),
        existing=rows,
        denied=None if as_reader else lacking(environment, aws),
        certificate=front_door.observe(environment, aws),
        alternatives=tuple(instance_type(aws, kind) for kind in gpu.types[1:]),
    )


def support_of(version: str, aws: Aws) -> Support | None:
    """EKS's support of a Kubernetes version; None for one it does not know."""
    with aws_errors("asking EKS which Kubernetes versions it supports"):
        found = aws.client("eks").describe_cluster_versions(clusterVersions=[version], includeAll=True)
    for row in found["clusterVersions"]:
        return Support(str(row["versionStatus"]), f"{row['endOfStandardSupportDate']:%Y-%m-%d}")
    return None


def foreign_buckets(environment: Environment, aws: Aws) -> dict[str, str]:
    """Those of the environment's buckets that exist and are somebody else's, each with what says so."""
    found = {}
    storage, existing = environment.storage, environment.existing
    ours = {storage.state_bucket: not existing.state_bucket, storage.model_bucket: not existing.model_bucket}
    for bucket in (name for name, made in ours.items() if made):
        with aws_errors(f"looking at the bucket {bucket}"):
            try:
                answer = aws.client("s3").get_bucket_tagging(Bucket=bucket)
            except ClientError as error:
                if error_code(error) == "AccessDenied":
                    found[bucket] = "another account's, or s3:GetBucketTagging is not allowed"
                elif error_code(error) not in ("NoSuchBucket", "NoSuchTagSet"):
                    raise
                continue
        tags = {str(tag["Key"]): str(tag["Value"]) for tag in answer["TagSet"]}
        if tags.get(ENVIRONMENT_TAG) != environment.name:
            said = ", ".join(f"{key}={value}" for key, value in sorted(tags.items()))
            found[bucket] = f"tagged {said}, not {ENVIRONMENT_TAG}={environment.name}"
    return found


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


def gpu_zone(environment: Environment, ids: Mapping[str, str], existing: Sequence[str] = ()) -> str:
    """The zone the GPU nodes will be in, as infra/terraform/cluster chooses it; `existing`: of subnets that exist."""
    cluster = environment.cluster
    if existing:
        return cluster.gpu.zone or existing[0]
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
                    next_command="set cluster.gpu.instance_type and alternative_types in the environment's file",
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


def first_nodes(model: Model, instance: InstanceType) -> int:
    """Nodes that the model's fewest replicas need; one where none of that type will do, which another row says."""
    each = model.resources.gpu
    if not replicas_a_node(each, instance.gpus):
        return 1
    return nodes_for(model.scaling.min_replicas, each, instance.gpus)


def quota_need(environment: Environment, aws: Aws, instance: InstanceType, nodes: int) -> QuotaNeed | None:
    """The vCPU quota the GPU nodes fall under, against what runs already. `nodes`: those the model starts with."""
    gpu = environment.cluster.gpu
    code = quota_code(instance.name, gpu.capacity_type)
    if code is None:
        return None
    limit = limit_of(aws, "ec2", code)
    with aws_errors("counting the instances that run"):
        pages = (
            aws.client("ec2")
            .get_paginator("describe_instances")
            .paginate(Filters=[{"Name": "instance-state-name", "Values": ["pending", "running"]}])
        )
        running = [i for page in pages for r in page["Reservations"] for i in r["Instances"]]
    counted = [i for i in running if quota_code(i["InstanceType"], _capacity(i)) == code]
    # a managed node group tags with the first, Karpenter with the second
    tags = ("eks:cluster-name", "eks:eks-cluster-name")
    ours = [i for i in counted if environment.eks_cluster in [_tag(i, tag) for tag in tags]]
    wanted = max(nodes, gpu.desired) * instance.vcpus
    running_here = sum(_vcpus(i) for i in ours)
    return QuotaNeed(
        code=code,
        limit=limit,
        used=sum(_vcpus(i) for i in counted),
        needed=max(0.0, wanted - running_here),
        ours=running_here,
    )


def _capacity(instance: Mapping[str, Any]) -> Literal["ON_DEMAND", "SPOT"]:
    return "SPOT" if instance.get("InstanceLifecycle") == "spot" else "ON_DEMAND"


def _vcpus(instance: Mapping[str, Any]) -> float:
    options = instance.get("CpuOptions") or {}
    return float(options.get("CoreCount", 0) * options.get("ThreadsPerCore", 0))


def _tag(instance: Mapping[str, Any], key: str) -> str | None:
    return next((tag["Value"] for tag in instance.get("Tags") or () if tag["Key"] == key), None)
