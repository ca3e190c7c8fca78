"""Service Quotas for what limits GPU nodes: EC2's vCPU quotas by instance family, on demand and spot.

Codes, names and AWS's own defaults as the Service Quotas console shows them for Amazon EC2, written down from memory
in 2025-11 and not fetched. The sandbox's account has
been granted 64 vCPUs of each; the fault `quota-zero` (target: the quota's code) takes the GPU ones away.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from moto.servicequotas.resources.default_quotas.vpc import VPC_DEFAULT_QUOTAS

from slipway_sandbox.aws.eks.state import utc_now
from slipway_sandbox.aws.vcpus import GRANTED
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
    Quota("L-34B43A08", "All Standard (A, C, D, H, I, M, R, T, Z) Spot Instance Requests", 5.0, False),
    Quota("L-DB2E81BA", "Running On-Demand G and VT instances", 0.0, True),
    Quota("L-3819A6DF", "All G and VT Spot Instance Requests", 0.0, True),
    Quota("L-417A185B", "Running On-Demand P instances", 0.0, True),
    Quota("L-7212CCBC", "All P4, P3 and P2 Spot Instance Requests", 0.0, True),
    Quota("L-C4BD4855", "All P5 Spot Instance Requests", 0.0, True),
]
BY_CODE = {quota.code: quota for quota in QUOTAS}


class ServiceQuotas:
    """ListServices, Get/ListServiceQuota(s), their AWS defaults, and requests for more, which are only recorded."""

    def __init__(self, faults: Faults, now: Callable[[], datetime] = utc_now) -> None:
        self._faults, self._now = faults, now
        self._requests: list[Document] = []

    def list_services(self, parameters: Document, caller: Caller) -> Document:
        names = {
            "ec2": "Amazon Elastic Compute Cloud (Amazon EC2)",
            "vpc": "Amazon Virtual Private Cloud (Amazon VPC)",
        }
        return {"Services": [{"ServiceCode": code, "ServiceName": name} for code, name in names.items()]}

    def get_service_quota(self, parameters: Document, caller: Caller) -> Document:
        return {"Quota": self._find(parameters, caller, self._value)}

    def list_service_quotas(self, parameters: Document, caller: Caller) -> Document:
        return self._list(parameters, caller, self._value)

    def get_aws_default_service_quota(self, parameters: Document, caller: Caller) -> Document:
        return {"Quota": self._find(parameters, caller, lambda quota: quota.default)}

    def list_aws_default_service_quotas(self, parameters: Document, caller: Caller) -> Document:
        return self._list(parameters, caller, lambda quota: quota.default)

    def request_service_quota_increase(self, parameters: Document, caller: Caller) -> Document:
        quota, wanted = self._find(parameters, caller, self._value), float(parameters["DesiredValue"])
        if wanted <= quota["Value"]:
            raise AwsError(
                "IllegalArgumentException",
                f"You must provide a quota value greater than or equal to the current quota value of {quota['Value']}",
            )
        open_ones = [r for r in self._requests if r["QuotaCode"] == quota["QuotaCode"]]
        if open_ones:
            raise AwsError(
                "ResourceAlreadyExistsException",
                f"Only one open service quota increase request is allowed per quota ({open_ones[0]['Id']}).",
            )
        now = self._now()
        request = {
            "Id": uuid.uuid4().hex + uuid.uuid4().hex[:8],
            **{
                key: quota[key]
                for key in ("ServiceCode", "ServiceName", "QuotaCode", "QuotaName", "QuotaArn", "Unit")
            },
            "DesiredValue": wanted,
            "Status": "PENDING",
            "Created": now,
            "LastUpdated": now,
            "Requester": f'{{"accountId":"{ACCOUNT_ID}"}}',
            "GlobalQuota": False,
        }
        self._requests.append(request)
        return {"RequestedQuota": request}

    def get_requested_service_quota_change(self, parameters: Document, caller: Caller) -> Document:
        for request in self._requests:
            if request["Id"] == parameters["RequestId"]:
                return {"RequestedQuota": request}
        raise AwsError("NoSuchResourceException", "The specified quota change request does not exist.")

    def list_requested_service_quota_change_history(self, parameters: Document, caller: Caller) -> Document:
        wanted = {key: parameters[key] for key in ("ServiceCode", "QuotaCode", "Status") if key in parameters}
        return {"RequestedQuotas": [r for r in self._requests if all(r[k] == v for k, v in wanted.items())]}

    def list_requested_service_quota_change_history_by_quota(
        self, parameters: Document, caller: Caller
    ) -> Document:
        return self.list_requested_service_quota_change_history(parameters, caller)

    def _value(self, quota: Quota) -> float:
        if quota.gpu and self._faults.hit("quota-zero", target=quota.code):
            return 0.0
        return GRANTED

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

    def _list(self, parameters: Document, caller: Caller, value: Callable[[Quota], float]) -> Document:
        service = parameters["ServiceCode"]
        if service == "vpc":
            return {"Quotas": VPC_DEFAULT_QUOTAS}
        if service != "ec2":
            raise AwsError(
                "NoSuchResourceException", f"The request failed because the service {service} does not exist."
            )
        return {"Quotas": [_row(quota, caller.region, value(quota)) for quota in QUOTAS]}


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
