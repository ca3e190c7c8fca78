"""Size and speed of the volume a model needs, from its bytes and the time they shall be read in. Pure.

gp3's limits: 3,000 to 80,000 IOPS, at most 500 a GiB above 3,000; 125 to 2,000 MiB/s, at most 0.25 MiB/s an IOPS.
https://docs.aws.amazon.com/ebs/latest/userguide/general-purpose.html
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from tasks.records.cache import Cache
from tasks.records.quantities import parse_quantity

GIB, MIB = 1 << 30, 1 << 20
LEAST_IOPS = 3000
LEAST_THROUGHPUT, MOST_THROUGHPUT = 125, 2000
# MiB/s: another commit of about the same size shall not be another class
THROUGHPUT_STEP = 25
IOPS_A_GIB = 500
IOPS_A_MIB_S = 4


@dataclass(frozen=True)
class Volume:
    """`size_gib` in GiB, `throughput` in MiB/s."""

    size_gib: int
    iops: int
    throughput: int

    def class_name(self, kind: Literal["retain", "clone"], rate: int | None = None) -> str:
        """The name of its storage class, with all figures in it: a class cannot be changed once made.

        `rate`: MiB/s its blocks are initialized at from a snapshot; None: as they are read.
        """
        return f"gp3-{kind}-{self.iops}-{self.throughput}" + (f"-init{rate}" if rate else "")

    @property
    def least_gib(self) -> int:
        """The smallest volume that may have these IOPS."""
        return math.ceil(self.iops / IOPS_A_GIB) if self.iops > LEAST_IOPS else 1


def volume_for(
    total_bytes: int,
    cache: Cache,
    kept_bytes: int = 0,
    *,
    budget_mib_s: float,
    ceiling: float | None = None,
) -> Volume:
    """The volume for a model of `total_bytes` beside `kept_bytes` of other revisions that are needed.

    Size: `cache.size` where it is given, else 1.3 x the bytes + 2 GiB, whole GiB; more where the IOPS ask for it.
    Speed: the figures given, else what reads the model in `cache.load_seconds`, else `budget_mib_s`; at most `ceiling`,
    what the instance type reads from EBS in MiB/s.
    """
    throughput = cache.throughput or throughput_for(total_bytes, cache.load_seconds, budget_mib_s, ceiling)
    iops = max(cache.iops or LEAST_IOPS, IOPS_A_MIB_S * throughput)
    if cache.size is not None:
        size = math.ceil(parse_quantity(cache.size) / GIB)
    else:
        size = math.ceil(1.3 * (total_bytes + kept_bytes) / GIB + 2)
    return Volume(max(size, Volume(size, iops, throughput).least_gib), iops, throughput)


def throughput_for(
    total_bytes: int, load_seconds: float | None, budget_mib_s: float, ceiling: float | None
) -> int:
    """MiB/s that read `total_bytes` in `load_seconds`, within gp3's and the instance's limits."""
    wished = budget_mib_s if load_seconds is None else total_bytes / MIB / load_seconds
    stepped = math.ceil(wished / THROUGHPUT_STEP) * THROUGHPUT_STEP
    most = MOST_THROUGHPUT if ceiling is None else min(MOST_THROUGHPUT, math.floor(ceiling))
    return max(LEAST_THROUGHPUT, min(most, stepped))


def differences(has: Volume, wanted: Volume, volume_id: str, *, asked: bool) -> list[str]:
    """Describe differences between an existing volume and the wanted one, with the command where there is one. Pure.

    `asked`: whether `cache.size` was set explicitly; a derived size may be exceeded, by what an earlier commit needed.
    """
    lines = []
    if (has.iops, has.throughput) != (wanted.iops, wanted.throughput):
        lines.append(
            f"its volume keeps {has.iops} IOPS and {has.throughput} MiB/s, as a class cannot be changed; asked for are "
            f"{wanted.iops} and {wanted.throughput}. To change it, also while it serves: aws ec2 modify-volume --volume-id "
            f"{volume_id} --iops {wanted.iops} --throughput {wanted.throughput}"
        )
    if asked and has.size_gib > wanted.size_gib:
        lines.append(
            f"its volume keeps {has.size_gib} GiB, asked for are {wanted.size_gib}: a volume cannot shrink. A smaller one is "
            "a new one: delete the claim at zero replicas, then deploy again"
        )
    return lines


def transfer_seconds(total_bytes: int, mib_s: float) -> float:
    """Deadline for copying so many bytes: twice the time at `mib_s`, and a minute to start."""
    return 60.0 + 2 * total_bytes / (mib_s * MIB)
