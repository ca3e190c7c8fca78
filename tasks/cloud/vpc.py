"""Choose the private subnets of a VPC that exists. Reading changes nothing; the choice is a pure function."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tasks.cloud.aws import Aws, aws_errors
from tasks.records.errors import InputError
from tasks.records.existing import Existing

# EKS puts a control plane into two zones at least:
# https://docs.aws.amazon.com/eks/latest/userguide/network-reqs.html#network-requirements-subnets
CONTROL_PLANE_ZONES = 2


@dataclass(frozen=True)
class Subnet:
    """One subnet. `default_route`: where its traffic to the internet goes ("igw-1", "nat-1"), "" for nowhere."""

    id: str
    vpc: str
    zone: str
    default_route: str = ""

    @property
    def is_private(self) -> bool:
        """Nothing outside reaches it: its way out is no internet gateway."""
        return not self.default_route.startswith("igw-")


@dataclass(frozen=True)
class Network:
    """A VPC that exists, and the subnets that are used of it: one for each zone, in the order of zones."""

    vpc: str
    address_ranges: tuple[str, ...]
    subnets: tuple[Subnet, ...]

    @property
    def zones(self) -> tuple[str, ...]:
        return tuple(subnet.zone for subnet in self.subnets)

    @property
    def subnet_ids(self) -> tuple[str, ...]:
        return tuple(subnet.id for subnet in self.subnets)


def read_network(
    existing: Existing,
    aws: Aws,
    *,
    gpu_zone: str | None = None,
    vpc: str | None = None,
    among: Sequence[str] = (),
    kept: Collection[str] = (),
) -> Network:
    """The network that `existing` names. Raises InputError for one that cannot carry the cluster, CloudError.

    `vpc` and `among`: those of a cluster that exists. `kept`: subnets used before, which are preferred.
    """
    vpc = existing.vpc or vpc
    wanted = tuple(existing.subnets) or tuple(among)
    found = read_subnets(aws, vpc, wanted)
    chosen = choose_subnets(
        found,
        named=wanted,
        vpc=vpc,
        gpu_zone=gpu_zone,
        zones=1 if existing.cluster else CONTROL_PLANE_ZONES,
        kept=kept,
        strict=bool(existing.subnets),
    )
    return Network(chosen[0].vpc, existing.address_ranges or address_ranges(aws, chosen[0].vpc), chosen)


def choose_subnets(
    subnets: Sequence[Subnet],
    *,
    named: Sequence[str] = (),
    vpc: str | None = None,
    gpu_zone: str | None = None,
    zones: int = CONTROL_PLANE_ZONES,
    kept: Collection[str] = (),
    strict: bool = False,
) -> tuple[Subnet, ...]:
    """One private subnet for each zone, in the order of zones. Raises InputError.

    `strict`: every subnet of `named` must be private. Among several of a zone one of `kept` is taken, then the first by its id.
    """
    where = vpc or " and ".join(named)
    missing = [name for name in named if name not in {subnet.id for subnet in subnets}]
    if missing:
        raise _refused(f"there is no subnet {missing[0]}" + (f" in {vpc}" if vpc else ""), subnets)
    if len({subnet.vpc for subnet in subnets}) > 1:
        raise _refused(f"{where} are not in one VPC", subnets)
    public = [subnet.id for subnet in subnets if not subnet.is_private]
    if strict and public:
        raise _refused(f"{public[0]} is public: it has a route to an internet gateway", subnets)
    by_zone: dict[str, Subnet] = {}
    for subnet in sorted(subnets, key=lambda each: (each.id not in kept, each.id)):
        if subnet.is_private:
            by_zone.setdefault(subnet.zone, subnet)
    if not by_zone:
        raise _refused(f"{where} has no private subnet", subnets)
    if len(by_zone) < zones:
        raise _refused(
            f"the private subnets of {where} are in {', '.join(by_zone)} only: EKS needs two zones", subnets
        )
    if gpu_zone and gpu_zone not in by_zone:
        raise _refused(f"{where} has no private subnet in {gpu_zone}, the zone of cluster.gpu.zone", subnets)
    return tuple(by_zone[zone] for zone in sorted(by_zone))


def _refused(cause: str, subnets: Sequence[Subnet]) -> InputError:
    return InputError(
        cause,
        evidence=[
            f"{subnet.id} in {subnet.zone}: default route to {subnet.default_route or 'nothing'}"
            for subnet in sorted(subnets, key=lambda each: (each.zone, each.id))
        ],
        next_command="name private subnets in existing.subnets of the environment's file: aws ec2 describe-subnets",
    )


def read_subnets(aws: Aws, vpc: str | None, named: Sequence[str]) -> tuple[Subnet, ...]:
    """The named subnets that exist, or all of a VPC, each with its default route. Raises CloudError."""
    ec2 = aws.client("ec2")
    filters = [{"Name": "vpc-id", "Values": [vpc]}] if vpc else []
    # by a filter: asked by their ids, one that is missing would hide the others
    filters += [{"Name": "subnet-id", "Values": list(named)}] if named else []
    with aws_errors("reading the subnets that exist"):
        found = [
            each
            for page in ec2.get_paginator("describe_subnets").paginate(Filters=filters)
            for each in page["Subnets"]
        ]
        vpcs = sorted({str(each["VpcId"]) for each in found})
        tables = (
            [
                table
                for page in ec2.get_paginator("describe_route_tables").paginate(
                    Filters=[{"Name": "vpc-id", "Values": vpcs}]
                )
                for table in page["RouteTables"]
            ]
            if vpcs
            else []
        )
    return tuple(
        Subnet(
            str(each["SubnetId"]),
            str(each["VpcId"]),
            str(each["AvailabilityZone"]),
            default_route(each["SubnetId"], each["VpcId"], tables),
        )
        for each in found
    )


def default_route(subnet: str, vpc: str, tables: Sequence[Mapping[str, Any]]) -> str:
    """The target of 0.0.0.0/0 for a subnet, "" for none: in its own route table, else in the VPC's main one."""
    own = [t for t in tables if any(a.get("SubnetId") == subnet for a in t["Associations"])]
    main = [t for t in tables if t["VpcId"] == vpc and any(a.get("Main") for a in t["Associations"])]
    for table in (own or main)[:1]:
        for route in table["Routes"]:
            if route.get("DestinationCidrBlock") == "0.0.0.0/0":
                targets = (
                    "GatewayId",
                    "NatGatewayId",
                    "TransitGatewayId",
                    "NetworkInterfaceId",
                    "InstanceId",
                )
                return next((str(route[key]) for key in targets if route.get(key)), "something else")
    return ""


def address_ranges(aws: Aws, vpc: str) -> tuple[str, ...]:
    """The IPv4 ranges of a VPC, the first one first. Raises CloudError."""
    with aws_errors(f"reading the address ranges of {vpc}"):
        [found] = aws.client("ec2").describe_vpcs(VpcIds=[vpc])["Vpcs"]
    ranges = [
        str(each["CidrBlock"])
        for each in found.get("CidrBlockAssociationSet") or ()
        if each["CidrBlockState"]["State"] == "associated"
    ]
    return tuple(dict.fromkeys([str(found["CidrBlock"]), *ranges]))
