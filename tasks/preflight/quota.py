"""Quotas of the account: what Service Quotas says, which one a GPU instance type falls under, and whether it is enough.

Quota codes: https://docs.aws.amazon.com/general/latest/gr/ec2-service.html#limits_ec2
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from botocore.exceptions import ClientError

from tasks.cloud.aws import Aws, aws_errors, error_code

# (families, on-demand code, spot code)
_GROUPS = (
    (("g", "vt"), "L-DB2E81BA", "L-3819A6DF"),
    (("p",), "L-417A185B", "L-7212CCBC"),
)


def quota_code(instance_type: str, capacity: Literal["ON_DEMAND", "SPOT", "SPOT_OR_ON_DEMAND"]) -> str | None:
    """The Service Quotas code of an instance type's vCPUs; None for types that no GPU quota covers.

    Of SPOT_OR_ON_DEMAND the on-demand one: where EC2 has no spot capacity every node is of it.
    """
    leading = re.match(r"[a-z]+", instance_type)
    family = leading[0] if leading else ""
    for families, on_demand, spot in _GROUPS:
        if family in families:
            return spot if capacity == "SPOT" else on_demand
    return None


def limit_of(aws: Aws, service: str, code: str) -> float:
    """A quota's value in this account; AWS's default where the account has none applied. Raises AccessDenied, CloudError.

    https://docs.aws.amazon.com/servicequotas/2019-06-24/apireference/API_GetServiceQuota.html
    """
    quotas, names = aws.client("service-quotas"), {"ServiceCode": service, "QuotaCode": code}
    with aws_errors(f"reading the quota {code} of {service}"):
        try:
            answer = quotas.get_service_quota(**names)
        except ClientError as error:
            if error_code(error) != "NoSuchResourceException":
                raise
            answer = quotas.get_aws_default_service_quota(**names)
    return float(answer["Quota"]["Value"])


@dataclass(frozen=True)
class QuotaNeed:
    """vCPUs: what the account may run, what runs already (`ours` of it by this cluster), what this run adds."""

    code: str
    limit: float
    used: float
    needed: float
    ours: float = 0.0

    @property
    def enough(self) -> bool:
        return not self.needed or self.limit - self.used >= self.needed

    def nodes(self, vcpus: int) -> int:
        """GPU nodes of so many vCPUs that the cluster may have, those that run among them."""
        return int((self.limit - self.used + self.ours) // vcpus)

    def __str__(self) -> str:
        return (
            f"{self.limit:.0f} vCPUs allowed, {self.used:.0f} in use, {self.needed:.0f} needed ({self.code})"
        )
