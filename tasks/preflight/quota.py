"""GPU vCPU quotas: which one an instance type falls under, and whether it is enough. Pure.

Quota codes: https://docs.aws.amazon.com/general/latest/gr/ec2-service.html#limits_ec2
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

# (families, on-demand code, spot code)
_GROUPS = (
    (("g", "vt"), "L-DB2E81BA", "L-3819A6DF"),
    (("p",), "L-417A185B", "L-7212CCBC"),
)


def quota_code(instance_type: str, capacity: Literal["ON_DEMAND", "SPOT"]) -> str | None:
    """The Service Quotas code of an instance type's vCPUs; None for types that no GPU quota covers."""
    leading = re.match(r"[a-z]+", instance_type)
    family = leading[0] if leading else ""
    for families, on_demand, spot in _GROUPS:
        if family in families:
            return on_demand if capacity == "ON_DEMAND" else spot
    return None


@dataclass(frozen=True)
class QuotaNeed:
    """vCPUs: what the account may run, what runs already, what this run adds."""

    code: str
    limit: float
    used: float
    needed: float

    @property
    def enough(self) -> bool:
        return not self.needed or self.limit - self.used >= self.needed

    def __str__(self) -> str:
        return (
            f"{self.limit:.0f} vCPUs allowed, {self.used:.0f} in use, {self.needed:.0f} needed ({self.code})"
        )
