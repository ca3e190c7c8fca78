"""vCPUs: what an instance type has, which EC2 quota it counts against, and what runs of it now.

Quota codes: docs.aws.amazon.com/general/latest/gr/ec2-service.html#limits_ec2. vCPUs follow from a size's name, which a
test holds against EC2's own table for the GPU families: moto's copy of that table is 20 MB and stays unread here.
"""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import Any

from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models import EC2Backend, ec2_backends
from moto.ec2.models.instances import Instance

from slipway_sandbox.aws.capacity import asked_type
from slipway_sandbox.faults import Faults
from slipway_sandbox.settings import ACCOUNT_ID

# leading letters of a family -> (on-demand quota, spot quota)
CODES = {
    "g": ("L-DB2E81BA", "L-3819A6DF"),
    "vt": ("L-DB2E81BA", "L-3819A6DF"),
    "p": ("L-417A185B", "L-7212CCBC"),
}
STANDARD = ("L-1216C47A", "L-34B43A08")
P5_SPOT = "L-C4BD4855"
GPU = {P5_SPOT, *(code for codes in CODES.values() for code in codes)}
RUNNING = ("pending", "running")
XLARGE = re.compile(r"(\d*)xlarge")
ARM = re.compile(r"[a-z]+\d+[a-z]*g")  # Graviton: a vCPU is a core


def vcpus_of(instance_type: str) -> int:
    """Four an `xlarge`, two for what is smaller. 0 for `metal`, which is not counted."""
    size = instance_type.partition(".")[2]
    if found := XLARGE.fullmatch(size):
        return 4 * int(found[1] or 1)
    return 2 if size in ("nano", "micro", "small", "medium", "large") else 0


def cpu_options(instance_type: str) -> dict[str, int] | None:
    """As DescribeInstances shows them; None where the vCPUs are not known."""
    vcpus, threads = vcpus_of(instance_type), 1 if ARM.match(instance_type) else 2
    return {"CoreCount": vcpus // threads, "ThreadsPerCore": threads} if vcpus else None


def quota_of(instance_type: str, *, spot: bool) -> str:
    """The code of the quota a type's vCPUs count against."""
    leading = re.match(r"[a-z]+", instance_type)
    on_demand, of_spot = CODES.get(leading[0] if leading else "", STANDARD)
    if spot and leading and instance_type.startswith("p5"):
        return P5_SPOT
    return of_spot if spot else on_demand


def in_use(region: str, code: str, *, besides: dict[str, str] | None = None) -> int:
    """vCPUs of the running instances under a quota, without those that carry all tags of `besides`."""
    backend: Any = ec2_backends[ACCOUNT_ID][region]
    total = 0
    for reservation in list(backend.reservations.values()):
        for instance in reservation.instances:
            spot = instance.lifecycle == "spot"
            if instance._state.name not in RUNNING or quota_of(instance.instance_type, spot=spot) != code:
                continue
            tags = {tag["key"]: tag["value"] for tag in instance.get_tags()}
            if besides and all(tags.get(key) == value for key, value in besides.items()):
                continue
            total += vcpus_of(instance.instance_type)
    return total


def limit_of(code: str, faults: Faults, granted: float) -> float:
    """What the account may run of a quota that was `granted`; the fault `quota-zero` takes the GPU ones away."""
    taken = any(f.name == "quota-zero" and fnmatchcase(code, f.target) for f in faults.active())
    return 0.0 if taken and code in GPU else granted


def exceeded(limit: float) -> str:
    """EC2's sentence for VcpuLimitExceeded."""
    return (
        f"You have requested more vCPU capacity than your current vCPU limit of {limit:.0f} allows for the instance "
        "bucket that the specified instance type belongs to. Please visit http://aws.amazon.com/contact-us/ec2-request "
        "to request an adjustment to this limit."
    )


class VcpuLimitExceeded(EC2ClientError):  # type: ignore[misc]  # moto has no types
    def __init__(self, limit: float) -> None:
        super().__init__("VcpuLimitExceeded", exceeded(limit))


class MaxSpotInstanceCountExceeded(EC2ClientError):  # type: ignore[misc]
    """What EC2 says where a spot quota is used up (…/errors-overview.html)."""

    def __init__(self) -> None:
        super().__init__("MaxSpotInstanceCountExceeded", "Max spot instance count exceeded")


def extend(faults: Faults, granted: float) -> None:
    """Make moto's RunInstances count against the quotas and its instances say what they are, once, before it answers."""
    Instance.cpu_options = property(lambda instance: cpu_options(instance.instance_type))
    run = EC2Backend.run_instances

    def run_instances(self: Any, image_id: str, count: int, *arguments: Any, **more: Any) -> Any:
        kind = asked_type(self, more)
        spot = more.get("instance_market_options") == "spot"  # moto hands the MarketType alone
        code = quota_of(kind, spot=spot)
        limit = limit_of(code, faults, granted)
        if in_use(self.region_name, code) + count * vcpus_of(kind) > limit:
            raise MaxSpotInstanceCountExceeded if spot else VcpuLimitExceeded(limit)
        return run(self, image_id, count, *arguments, **more)

    EC2Backend.run_instances = run_instances
