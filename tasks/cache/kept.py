"""Cache volumes and snapshots that outlived their cluster: found by their tags, and taken up by the next one."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tasks.cloud.aws import Aws, aws_errors
from tasks.records.environment import Environment


@dataclass(frozen=True)
class KeptVolume:
    """An EBS volume nothing is attached to. `gib`: its size; `mib_s`: its throughput."""

    identity: str
    zone: str
    gib: int
    iops: int
    mib_s: int
    made: datetime


@dataclass(frozen=True)
class KeptSnapshot:
    """A complete EC2 snapshot of a warmed volume. `gib`: the least a volume made of it may have; `manifest`: its sha256."""

    identity: str
    repo: str
    commit: str
    manifest: str
    gib: int
    made: datetime


@dataclass(frozen=True)
class Sorted:
    """`taken_up`: what a cluster shall know again; `spare`: what nothing in it needs, and is billed."""

    taken_up: tuple[KeptSnapshot, ...]
    spare: tuple[KeptSnapshot, ...]


def sort(found: Sequence[KeptSnapshot], *, known: Collection[str], needed: Collection[str]) -> Sorted:
    """Of each needed commit and manifest the newest, unless the cluster knows one (`known`: EC2 ids) already. Pure."""
    newest = {(each.commit, each.manifest): each for each in sorted(found, key=lambda each: each.made)}
    have = {(each.commit, each.manifest) for each in found if each.identity in known}
    taken_up = [each for key, each in newest.items() if each.commit in needed and key not in have]
    spare = [each for each in found if each.identity not in known and each not in taken_up]
    return Sorted(tuple(taken_up), tuple(spare))


def newest_of(found: Sequence[KeptSnapshot], commit: str, manifest: str) -> KeptSnapshot | None:
    """The newest of that commit as that manifest lists it. Pure."""
    mine = [each for each in found if (each.commit, each.manifest) == (commit, manifest)]
    return max(mine, key=lambda each: each.made, default=None)


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


def kept_snapshots(aws: Aws, environment: Environment, model: str) -> list[KeptSnapshot]:
    """Complete snapshots of the model's warmed volumes in the environment, whoever took them. Raises CloudError."""
    wanted = {
        "tag:slipway:environment": environment.name,
        "tag:slipway:model": model,
        "status": "completed",
    }
    filters = [{"Name": name, "Values": [value]} for name, value in wanted.items()]
    with aws_errors("looking for kept snapshots"):
        paginator = aws.client("ec2").get_paginator("describe_snapshots")
        pages = paginator.paginate(OwnerIds=["self"], Filters=filters)
        return [_kept_snapshot(found) for page in pages for found in page["Snapshots"]]


def _kept_snapshot(found: dict[str, Any]) -> KeptSnapshot:
    tags = {tag["Key"]: tag["Value"] for tag in found.get("Tags") or ()}
    return KeptSnapshot(
        identity=found["SnapshotId"],
        repo=tags.get("slipway:repo", ""),
        commit=tags.get("slipway:commit", ""),
        manifest=tags.get("slipway:manifest", ""),
        gib=found["VolumeSize"],
        made=found["StartTime"],
    )


def _kept(volume: dict[str, Any]) -> KeptVolume:
    return KeptVolume(
        identity=volume["VolumeId"],
        zone=volume["AvailabilityZone"],
        gib=volume["Size"],
        iops=volume.get("Iops") or 0,
        mib_s=volume.get("Throughput") or 0,
        made=volume["CreateTime"],
    )
