"""Service Quotas for what limits GPU nodes: EC2's vCPU quotas by instance family, on demand and spot.

Codes, names and AWS's own defaults as the Service Quotas console shows them for Amazon EC2, written down from memory
in 2025-11 and not fetched. The sandbox's account has
been granted 64 vCPUs of each; the fault `quota-zero` (target: the quota's code) takes the GPU ones away.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from moto.servicequotas.resources.default_quotas.vpc import VPC_DEFAULT_QUOTAS

from slipway_sandbox.aws.wire import AwsError, Caller, Document
from slipway_sandbox.faults import Faults
from slipway_sandbox.settings import ACCOUNT_ID


@dataclass(frozen=True)
class Quota:
    code: str
    name: str
    default: float
    gpu: bool


QUOTAS = [
    Quota("L-1216C47A", "Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances", 5.0, False),
    Quota("L-0263D0A3", "EC2-VPC Elastic IPs", 5.0, False),
    Quota("L-34B43A08", "All Standard (A, C, D, H, I, M, R, T, Z) Spot Instance Requests", 5.0, False),
    Quota("L-DB2E81BA", "Running On-Demand G and VT instances", 0.0, True),
    Quota("L-3819A6DF", "All G and VT Spot Instance Requests", 0.0, True),
    Quota("L-417A185B", "Running On-Demand P instances", 0.0, True),
    Quota("L-7212CCBC", "All P4, P3 and P2 Spot Instance Requests", 0.0, True),
    Quota("L-C4BD4855", "All P5 Spot Instance Requests", 0.0, True),
]
BY_CODE = {quota.code: quota for quota in QUOTAS}


class ServiceQuotas:
    """GetServiceQuota and GetAWSDefaultServiceQuota."""

    def __init__(self, faults: Faults, granted: float) -> None:
        self._faults, self._granted = faults, granted

    def get_service_quota(self, parameters: Document, caller: Caller) -> Document:
        return {"Quota": self._find(parameters, caller, self._value)}

    def get_aws_default_service_quota(self, parameters: Document, caller: Caller) -> Document:
        return {"Quota": self._find(parameters, caller, lambda quota: quota.default)}

    def _value(self, quota: Quota) -> float:
        if quota.gpu and self._faults.hit("quota-zero", target=quota.code):
            return 0.0
        return self._granted

    def _find(self, parameters: Document, caller: Caller, value: Callable[[Quota], float]) -> Document:
        service, code = parameters["ServiceCode"], parameters["QuotaCode"]
        if service == "vpc":
            for row in VPC_DEFAULT_QUOTAS:
                if row["QuotaCode"] == code:
                    return dict(row)
        if service != "ec2" or code not in BY_CODE:
            raise AwsError(
                "NoSuchResourceException",
                "The request failed because the specified service or quota does not exist.",
            )
        return _row(BY_CODE[code], caller.region, value(BY_CODE[code]))


def _row(quota: Quota, region: str, value: float) -> Document:
    return {
        "ServiceCode": "ec2",
        "ServiceName": "Amazon Elastic Compute Cloud (Amazon EC2)",
        "QuotaArn": f"arn:aws:servicequotas:{region}:{ACCOUNT_ID}:ec2/{quota.code}",
        "QuotaCode": quota.code,
        "QuotaName": quota.name,
        "Value": value,
        "Unit": "None",
        "Adjustable": True,
        "GlobalQuota": False,
        "QuotaAppliedAtLevel": "ACCOUNT",
    }
