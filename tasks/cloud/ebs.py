"""EBS prices of a region, read throughput of an instance type, and fast snapshot restore.

gp3 is billed by GiB, by IOPS above 3,000 and by MiB/s above 125: https://aws.amazon.com/ebs/pricing/
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from tasks.cloud.aws import Aws, aws_errors
from tasks.cloud.prices import price_of, pricing, products
from tasks.records.errors import CloudError

FREE_IOPS, FREE_MIB_S = 3000, 125
HOURS_A_MONTH = 730

# Each price's product family and the end of its usage type, which begins with the region.
_SOLD_AS = {
    "gib_month": ("Storage", "EBS:VolumeUsage.gp3"),
    "iops_month": ("System Operation", "EBS:VolumeP-IOPS.gp3"),
    "mib_s_month": ("Provisioned Throughput", "EBS:VolumeP-Throughput.gp3"),
    "snapshot_gib_month": ("Storage Snapshot", "EBS:SnapshotUsage"),
    "fast_restore_hour": ("Fast Snapshot Restore", "EBS:FastSnapshotRestore"),
}


@dataclass(frozen=True)
class EbsPrices:
    """USD; None where AWS did not say, and `unknown` says why. Fast restore: for an hour, a snapshot and a zone."""

    gib_month: float | None = None
    iops_month: float | None = None
    mib_s_month: float | None = None
    snapshot_gib_month: float | None = None
    fast_restore_hour: float | None = None
    unknown: str = "not asked"

    def volume(self, gib: int, iops: int, mib_s: int) -> float | None:
        """USD a month for a gp3 volume."""
        if self.gib_month is None or self.iops_month is None or self.mib_s_month is None:
            return None
        faster = max(0, iops - FREE_IOPS) * self.iops_month + max(0, mib_s - FREE_MIB_S) * self.mib_s_month
        return gib * self.gib_month + faster

    def snapshot(self, gib: float) -> float | None:
        """USD a month for a snapshot; `gib`: what was written to the volume."""
        return None if self.snapshot_gib_month is None else gib * self.snapshot_gib_month

    def fast_restore(self, zones: int) -> float | None:
        """USD for fast restore of one snapshot, a month of 730 hours."""
        return None if self.fast_restore_hour is None else zones * HOURS_A_MONTH * self.fast_restore_hour

    def told(self, usd: float | None) -> str:
        """A monthly price for people, or why it is unknown."""
        return f"price unknown: {self.unknown}" if usd is None else f"{usd:.2f} USD a month"


def ebs_prices(aws: Aws) -> EbsPrices:
    """Today's list prices in the region of `aws`. Never raises: an unknown price carries its reason."""
    found: dict[str, float] = {}
    try:
        client = pricing(aws)
        for name, (family, usage) in _SOLD_AS.items():
            for product in products(client, "AmazonEC2", productFamily=family, regionCode=aws.region):
                if str(product["product"]["attributes"].get("usagetype", "")).endswith(usage):
                    found[name] = price_of(product)
    except (ClientError, BotoCoreError) as error:
        return EbsPrices(**found, unknown=f"the Pricing API did not answer ({error})")
    except (KeyError, ValueError) as error:
        return EbsPrices(**found, unknown=f"the Pricing API's answer was not understood ({error!r})")
    missing = [name for name in _SOLD_AS if name not in found]
    return EbsPrices(**found, unknown=f"the Pricing API lists no {', '.join(missing)} in {aws.region}")


def read_ceiling(aws: Aws, instance_type: str) -> float | None:
    """The most MiB/s an instance type reads from EBS, burst included; None where EC2 does not say.

    https://docs.aws.amazon.com/ec2/latest/instancetypes/ec2-types.html  Raises CloudError.
    """
    with aws_errors("describing the GPU instance type"):
        answer = aws.client("ec2").describe_instance_types(InstanceTypes=[instance_type])
    info = answer["InstanceTypes"][0].get("EbsInfo", {}).get("EbsOptimizedInfo") or {}
    megabytes = info.get("MaximumThroughputInMBps")
    return float(megabytes) * 1e6 / 2**20 if megabytes else None


def volume_figures(aws: Aws, volume: str) -> tuple[int, int, int] | None:
    """(GiB, IOPS, MiB/s) of an EBS volume; None where EC2 has none of that id. Raises CloudError."""
    with aws_errors(f"describing {volume}"):
        answer = aws.client("ec2").describe_volumes(Filters=[{"Name": "volume-id", "Values": [volume]}])
    for found in answer["Volumes"]:
        return found["Size"], found.get("Iops") or FREE_IOPS, found.get("Throughput") or FREE_MIB_S
    return None


@dataclass(frozen=True)
class Ebs:
    """EBS for one instance type in one region. `ceiling`: see `read_ceiling`."""

    aws: Aws
    prices: EbsPrices
    ceiling: float | None

    @classmethod
    def of(cls, aws: Aws, instance_type: str) -> Ebs:
        """Raises CloudError where EC2 does not know the type."""
        return cls(aws, ebs_prices(aws), read_ceiling(aws, instance_type))

    def set_fast_restore(self, snapshot: str, on: Sequence[str], off: Sequence[str]) -> None:
        set_fast_restore(self.aws, snapshot, on, off)

    def fast_restores(self, snapshot: str) -> dict[str, str]:
        return fast_restores(self.aws, [snapshot]).get(snapshot, {})


def fast_restores(aws: Aws, snapshots: Sequence[str]) -> dict[str, dict[str, str]]:
    """Fast restore's state (enabling, optimizing, enabled, disabling) by snapshot and zone. Raises CloudError.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeFastSnapshotRestores.html
    """
    found: dict[str, dict[str, str]] = {}
    if not snapshots:
        return found
    with aws_errors("reading fast snapshot restores"):
        paginator = aws.client("ec2").get_paginator("describe_fast_snapshot_restores")
        for page in paginator.paginate(Filters=[{"Name": "snapshot-id", "Values": list(snapshots)}]):
            for each in page["FastSnapshotRestores"]:
                if each["State"] != "disabled":
                    found.setdefault(each["SnapshotId"], {})[each["AvailabilityZone"]] = each["State"]
    return found


def set_fast_restore(aws: Aws, snapshot: str, on: Sequence[str], off: Sequence[str]) -> None:
    """Enable fast restore of a snapshot in the zones `on`, disable it in `off`. Raises CloudError.

    The EBS CSI driver only enables it, and only for a snapshot it takes itself.
    """
    ec2, doing = aws.client("ec2"), f"switching fast snapshot restore of {snapshot}"
    with aws_errors(doing):
        answers = []
        if on:
            answers.append(
                ec2.enable_fast_snapshot_restores(AvailabilityZones=list(on), SourceSnapshotIds=[snapshot])
            )
        if off:
            answers.append(
                ec2.disable_fast_snapshot_restores(AvailabilityZones=list(off), SourceSnapshotIds=[snapshot])
            )
    refused = [line for answer in answers for line in unsuccessful(answer)]
    if refused:
        raise CloudError(
            f"{doing}: EC2 refuses it",
            evidence=refused,
            next_command="aws ec2 describe-fast-snapshot-restores; or another cache.restore in the model's file",
        )


def unsuccessful(answer: Mapping[str, Any]) -> list[str]:
    """What EC2 refused in an answer of status 200, one line for each zone. Pure.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_EnableFastSnapshotRestores.html
    """
    return [
        f"{each.get('AvailabilityZone', '')}: {each['Error'].get('Code', '')}: {each['Error'].get('Message', '')}"
        for item in answer.get("Unsuccessful") or ()
        for each in item.get("FastSnapshotRestoreStateErrors") or ()
    ]
