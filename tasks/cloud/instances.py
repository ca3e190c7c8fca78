"""EC2 instances of an environment: what they are, since when they run, when they ended."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from tasks.cloud.aws import Aws, aws_errors
from tasks.records.environment import Environment
from tasks.records.names import ENVIRONMENT_TAG

# a managed node group tags its instances with the first, Karpenter with the second
CLUSTER_TAGS = ("eks:cluster-name", "eks:eks-cluster-name")
RUNS = {"pending", "running"}
# StateTransitionReason, e.g. "User initiated (2026-11-30 12:01:02 GMT)":
# https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_Instance.html
_ENDED = re.compile(r"\((\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) (?:GMT|UTC)\)")


@dataclass(frozen=True)
class Instance:
    """One, as EC2 lists it; it lists one that was terminated for about an hour.

    `ended_at`: None while it runs, and where EC2 does not say when it ended.
    """

    id: str
    type: str
    launched_at: datetime
    runs: bool
    spot: bool
    ended_at: datetime | None
    zone: str = ""


def instances_of(environment: Environment, aws: Aws) -> list[Instance]:
    """Those of the environment's cluster, by their tags; in a cluster that exists, our own nodes. Raises CloudError."""
    ours = {"Name": f"tag:{ENVIRONMENT_TAG}", "Values": [environment.name]}
    filters: list[list[dict[str, Any]]] = [
        [{"Name": f"tag:{tag}", "Values": [environment.eks_cluster]}] for tag in CLUSTER_TAGS
    ]
    if environment.existing.cluster:
        filters = [[*each, ours] for each in filters]
    found: dict[str, Instance] = {}
    with aws_errors("listing the instances"):
        for each in filters:
            found |= {one.id: one for one in map(_instance, _described(aws, each))}
    return sorted(found.values(), key=lambda one: (one.launched_at, one.id))


def _described(aws: Aws, filters: Sequence[dict[str, Any]]) -> Iterator[Mapping[str, Any]]:
    pages = aws.client("ec2").get_paginator("describe_instances").paginate(Filters=filters)
    for page in pages:
        for reservation in page["Reservations"]:
            yield from reservation["Instances"]


def _instance(described: Mapping[str, Any]) -> Instance:
    runs = described["State"]["Name"] in RUNS
    told = _ENDED.search(described.get("StateTransitionReason") or "")
    ended = datetime.strptime(told[1], "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC) if told else None
    return Instance(
        id=described["InstanceId"],
        type=described["InstanceType"],
        launched_at=described["LaunchTime"],
        runs=runs,
        spot=described.get("InstanceLifecycle") == "spot",
        ended_at=None if runs else ended,
        zone=described["Placement"]["AvailabilityZone"],
    )
