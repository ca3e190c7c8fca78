"""VPCs, elastic IPs and NAT gateways against the account's quotas: what a first deploy makes of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tasks.cloud.aws import Aws, aws_errors
from tasks.preflight.quota import limit_of
from tasks.preflight.rows import Row
from tasks.records.environment import Environment
from tasks.records.names import ENVIRONMENT_TAG


@dataclass(frozen=True)
class Need:
    """How many of `what` the account may have, has, and would get. `service` and `code`: of Service Quotas."""

    what: str
    service: str
    code: str
    limit: float
    used: int
    needed: int

    @property
    def enough(self) -> bool:
        return not self.needed or self.used + self.needed <= self.limit


def network_needs(environment: Environment, aws: Aws) -> list[Need]:
    """The three quotas a new VPC falls under. Raises AccessDenied, CloudError.

    Codes: `aws service-quotas list-service-quotas --service-code vpc`, and ec2 for elastic IPs.
    """
    if environment.existing.network:
        return []
    ec2 = aws.client("ec2")
    with aws_errors("counting VPCs, elastic IPs and NAT gateways"):
        vpcs = [v for page in ec2.get_paginator("describe_vpcs").paginate() for v in page["Vpcs"]]
        addresses = ec2.describe_addresses()["Addresses"]
        pages = ec2.get_paginator("describe_nat_gateways").paginate(
            Filter=[{"Name": "state", "Values": ["pending", "available"]}]
        )
        gateways = [gateway for page in pages for gateway in page["NatGateways"]]
        subnets = {str(gateway["SubnetId"]) for gateway in gateways if gateway.get("SubnetId")}
        pages = ec2.get_paginator("describe_subnets").paginate(
            Filters=[{"Name": "subnet-id", "Values": sorted(subnets)}]
        )
        zones = (
            {s["SubnetId"]: s["AvailabilityZone"] for page in pages for s in page["Subnets"]}
            if subnets
            else {}
        )
    gateways_in = Counter(zones.get(gateway.get("SubnetId"), "") for gateway in gateways)
    wanted = 2 if environment.cluster.nat == "per_zone" else 1
    counts = (
        ("VPCs", "vpc", "L-F678F1CE", len(vpcs), 1 - _ours(vpcs, environment)),
        ("elastic IPs", "ec2", "L-0263D0A3", len(addresses), wanted - _ours(addresses, environment)),
        (
            "NAT gateways in one zone",
            "vpc",
            "L-FE5A380F",
            max(gateways_in.values(), default=0),
            1 if _ours(gateways, environment) < wanted else 0,
        ),
    )
    return [
        Need(what, service, code, limit_of(aws, service, code), used, max(0, needed))
        for what, service, code, used, needed in counts
    ]


def judge_network(needs: Sequence[Need]) -> Row:
    """The row of all three. Pure."""
    short = [need for need in needs if not need.enough]
    detail = "; ".join(
        f"{need.what}: {need.limit:.0f} allowed, {need.used} there, {need.needed} to be made"
        for need in short or needs
    )
    if not short:
        return Row("ok", detail or "nothing of it is made: the network exists")
    first = short[0]
    return Row(
        "fail",
        detail,
        f"aws service-quotas request-service-quota-increase --service-code {first.service} --quota-code {first.code} "
        f"--desired-value {first.used + first.needed}",
    )


def _ours(found: Sequence[Mapping[str, Any]], environment: Environment) -> int:
    tags = [{tag["Key"]: tag["Value"] for tag in each.get("Tags") or ()} for each in found]
    return sum(each.get(ENVIRONMENT_TAG) == environment.name for each in tags)
