"""A cache volume that outlived its cluster: found by its tags, and taken up by the next claim of its name."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tasks.cloud.aws import Aws, aws_errors
from tasks.spec.environment import Environment


@dataclass(frozen=True)
class KeptVolume:
    """An EBS volume nothing is attached to. `gib`: its size; `mib_s`: its throughput."""

    identity: str
    zone: str
    gib: int
    iops: int
    mib_s: int
    made: datetime


def choose(
    found: Sequence[KeptVolume], *, zones: Collection[str], known: Collection[str]
) -> KeptVolume | None:
    """The newest that GPU nodes can attach and no PersistentVolume of the cluster stands for. What is on it is not
    believed: the warm job looks at it as at any volume."""
    fitting = [each for each in found if each.zone in zones and each.identity not in known]
    return max(fitting, key=lambda each: each.made, default=None)


def known_elsewhere(volumes: Sequence[dict[str, Any]], namespace: str, claim: str) -> set[str]:
    """EBS ids of the cluster's PersistentVolumes, but for one that waits for this very claim: a run killed between the
    volume and the claim made it."""
    found = set()
    for volume in volumes:
        reference = volume["spec"].get("claimRef") or {}
        mine = (reference.get("namespace"), reference.get("name")) == (namespace, claim)
        if not mine or (volume.get("status") or {}).get("phase") == "Released":
            found.add(str((volume["spec"].get("csi") or {}).get("volumeHandle")))
    return found


def kept_volumes(aws: Aws, environment: Environment, claim: str) -> list[KeptVolume]:
    """Free volumes made for that claim of the environment. Raises CloudError."""
    wanted = {
        "tag:slipway:environment": environment.name,
        "tag:kubernetes.io/created-for/pvc/name": claim,
        "tag:kubernetes.io/created-for/pvc/namespace": environment.namespace,
        "status": "available",
        "volume-type": "gp3",
    }
    filters = [{"Name": name, "Values": [value]} for name, value in wanted.items()]
    with aws_errors("looking for a kept cache volume"):
        pages = aws.client("ec2").get_paginator("describe_volumes").paginate(Filters=filters)
        return [_kept(volume) for page in pages for volume in page["Volumes"]]


def _kept(volume: dict[str, Any]) -> KeptVolume:
    return KeptVolume(
        identity=volume["VolumeId"],
        zone=volume["AvailabilityZone"],
        gib=volume["Size"],
        iops=volume.get("Iops") or 0,
        mib_s=volume.get("Throughput") or 0,
        made=volume["CreateTime"],
    )
