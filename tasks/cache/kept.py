"""Cache volumes and snapshots that outlived their cluster: found in EC2 by their tags, chosen for the next one."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tasks.cloud import objects
from tasks.cloud.aws import Aws, aws_errors
from tasks.records.environment import Environment
from tasks.records.names import COMMIT_TAG, ENVIRONMENT_TAG, MANIFEST_TAG, MODEL_TAG, REPO_TAG


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


def sort(
    kept: Sequence[KeptSnapshot], *, known: Collection[str], needed: Collection[str]
) -> tuple[list[KeptSnapshot], list[KeptSnapshot]]:
    """(To be taken up, spare): the newest of each needed commit and manifest the cluster knows none of; and what nothing
    needs, which is billed. `known`: EC2 ids the cluster knows. Pure."""
    newest = {(each.commit, each.manifest): each for each in sorted(kept, key=lambda each: each.made)}
    have = {(each.commit, each.manifest) for each in kept if each.identity in known}
    taken_up = [each for key, each in newest.items() if each.commit in needed and key not in have]
    spare = [each for each in kept if each.identity not in known and each not in taken_up]
    return taken_up, spare


def newest_of(kept: Sequence[KeptSnapshot], commit: str, manifest: str) -> KeptSnapshot | None:
    """The newest of that commit as that manifest lists it. Pure."""
    mine = [each for each in kept if (each.commit, each.manifest) == (commit, manifest)]
    return max(mine, key=lambda each: each.made, default=None)


def choose(
    kept: Sequence[KeptVolume], *, zones: Collection[str], known: Collection[str]
) -> KeptVolume | None:
    """The newest that GPU nodes can attach and no PersistentVolume of the cluster stands for. Pure.

    Its contents are not trusted: the warm job verifies them as on any volume.
    """
    fitting = [each for each in kept if each.zone in zones and each.identity not in known]
    return max(fitting, key=lambda each: each.made, default=None)


def known_elsewhere(volumes: Sequence[dict[str, Any]], namespace: str, claim: str) -> set[str]:
    """EBS ids of the cluster's PersistentVolumes, but for one that waits for this very claim: a run killed between the
    volume and the claim made it."""
    known = set()
    for volume in volumes:
        reference = volume["spec"].get("claimRef") or {}
        mine = (reference.get("namespace"), reference.get("name")) == (namespace, claim)
        if not mine or objects.status(volume).get("phase") == "Released":
            known.add(str((volume["spec"].get("csi") or {}).get("volumeHandle")))
    return known


def kept_volumes(aws: Aws, environment: Environment, claim: str) -> list[KeptVolume]:
    """Free volumes made for that claim of the environment. Raises CloudError."""
    wanted = {
        f"tag:{ENVIRONMENT_TAG}": environment.name,
        "tag:kubernetes.io/created-for/pvc/name": claim,
        "tag:kubernetes.io/created-for/pvc/namespace": environment.namespace,
        "status": "available",
        "volume-type": "gp3",
    }
    with aws_errors("looking for a kept cache volume"):
        pages = aws.client("ec2").get_paginator("describe_volumes").paginate(Filters=_filters(wanted))
        return [_volume(found) for page in pages for found in page["Volumes"]]


def kept_snapshots(aws: Aws, environment: Environment, model: str) -> list[KeptSnapshot]:
    """Complete snapshots of the model's warmed volumes in the environment, whoever took them. Raises CloudError."""
    wanted = {
        f"tag:{ENVIRONMENT_TAG}": environment.name,
        f"tag:{MODEL_TAG}": model,
        "status": "completed",
    }
    with aws_errors("looking for kept snapshots"):
        paginator = aws.client("ec2").get_paginator("describe_snapshots")
        pages = paginator.paginate(OwnerIds=["self"], Filters=_filters(wanted))
        return [_snapshot(found) for page in pages for found in page["Snapshots"]]


def _filters(wanted: dict[str, str]) -> Any:
    return [{"Name": name, "Values": [value]} for name, value in wanted.items()]


def _snapshot(found: Any) -> KeptSnapshot:
    tags = {tag["Key"]: tag["Value"] for tag in found.get("Tags") or ()}
    return KeptSnapshot(
        identity=found["SnapshotId"],
        repo=tags.get(REPO_TAG, ""),
        commit=tags.get(COMMIT_TAG, ""),
        manifest=tags.get(MANIFEST_TAG, ""),
        gib=found["VolumeSize"],
        made=found["StartTime"],
    )


def _volume(found: Any) -> KeptVolume:
    return KeptVolume(
        identity=found["VolumeId"],
        zone=found["AvailabilityZone"],
        gib=found["Size"],
        iops=found.get("Iops") or 0,
        mib_s=found.get("Throughput") or 0,
        made=found["CreateTime"],
    )
