"""What volume a model needs. Pure.

gp3's limits: 3,000 to 80,000 IOPS, at most 500 a GiB above 3,000; 125 to 2,000 MiB/s, at most 0.25 MiB/s an IOPS.
https://docs.aws.amazon.com/ebs/latest/userguide/general-purpose.html
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from tasks.spec.model import Cache
from tasks.spec.quantities import parse_quantity

GIB = 1 << 30
BASE_IOPS, BASE_THROUGHPUT = 3000, 250  # those of k8s/cache/storageclass.yaml as it stands
IOPS_A_GIB = 500
IOPS_A_MIB_S = 4


@dataclass(frozen=True)
class Volume:
    """`size_gib` in GiB, `throughput` in MiB/s."""

    size_gib: int
    iops: int
    throughput: int

    @property
    def storage_class(self) -> str:
        """Its class's name; the figures are in it where they are not the usual ones."""
        if (self.iops, self.throughput) == (BASE_IOPS, BASE_THROUGHPUT):
            return "gp3-retain"
        return f"gp3-retain-{self.iops}-{self.throughput}"

    @property
    def clone_class(self) -> str:
        """The class of its clones' name."""
        return f"gp3-clone-{self.iops}-{self.throughput}"


def volume_for(total_bytes: int, cache: Cache, kept_bytes: int = 0) -> Volume:
    """The volume for a model of `total_bytes` beside `kept_bytes` of another revision that is still served.

    Size: `cache.size` where it is given, else 1.3 x the bytes + 2 GiB, whole GiB; more where the IOPS ask for it.
    """
    iops = max(cache.iops, IOPS_A_MIB_S * cache.throughput)
    if cache.size is not None:
        size = math.ceil(parse_quantity(cache.size) / GIB)
    else:
        size = math.ceil(1.3 * (total_bytes + kept_bytes) / GIB + 2)
    if iops > BASE_IOPS:
        size = max(size, math.ceil(iops / IOPS_A_GIB))
    return Volume(size, iops, cache.throughput)


def transfer_seconds(total_bytes: int, mib_s: float) -> float:
    """The longest a warming of so many bytes may take: twice what `mib_s` gives, and a minute to start."""
    return 60.0 + 2 * total_bytes / (mib_s * (1 << 20))
