"""The gateway's certificate and scheme, judged before a load balancer is made of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from botocore.exceptions import ClientError

from tasks.cloud.aws import Aws, aws_errors, error_code
from tasks.cloud.eks_cluster import read_cluster
from tasks.cloud.kubernetes import Object, connect
from tasks.cloud.load_balancer import authority
from tasks.preflight.rows import Row
from tasks.records.environment import Environment
from tasks.records.errors import InputError
from tasks.records.names import GATEWAY
from tasks.records.tls import Tls

# ACM renews what it issued 60 days before its end, and says so itself from 45 days on:
# https://docs.aws.amazon.com/acm/latest/userguide/managed-renewal.html, cloudwatch-events.html
RENEWAL_LATE = timedelta(days=45)
TOO_LATE = timedelta(days=3)


@dataclass(frozen=True)
class Certificate:
    """What ACM says of a certificate. `ends`: None before it is issued; `why`: of one that is not."""

    status: str
    names: Sequence[str] = ()
    ends: datetime | None = None
    renews: bool = False
    why: str = ""


MISSING = Certificate("MISSING")


def region_of(tls: Tls) -> str:
    """The region that the certificate's ARN names."""
    return tls.certificate.split(":")[3]


def observe(environment: Environment, aws: Aws) -> Certificate | None:
    """The gateway's certificate; None without TLS. Not asked for in another region: no load balancer could have it.

    https://docs.aws.amazon.com/acm/latest/APIReference/API_CertificateDetail.html
    """
    tls = environment.gateway.tls
    if tls is None:
        return None
    if region_of(tls) != environment.region:
        return MISSING
    with aws_errors("asking ACM for the gateway's certificate"):
        try:
            found = aws.client("acm").describe_certificate(CertificateArn=tls.certificate)["Certificate"]
        except ClientError as error:
            if error_code(error) != "ResourceNotFoundException":
                raise
            return MISSING
    return Certificate(
        status=str(found["Status"]),
        names=tuple(dict.fromkeys([found["DomainName"], *found.get("SubjectAlternativeNames", ())])),
        ends=found.get("NotAfter"),
        # an imported one is renewed by whoever imports it
        renews=found["Type"] != "IMPORTED",
        why=str(found.get("FailureReason") or found.get("RevocationReason") or ""),
    )


def service_there(environment: Environment, aws: Aws) -> Object | None:
    """The gateway's Service, where there is a cluster with one. Raises CloudError, ClusterError."""
    found = read_cluster(environment.eks_cluster, aws)
    if found is None or found.status != "ACTIVE":
        return None
    cluster = connect(found.infrastructure(environment), aws)
    return cluster.get("v1", "Service", GATEWAY, environment.namespace)


def covers(name: str, domain: str) -> bool:
    """Whether a certificate's name is for the domain. A wildcard stands for one label (RFC 6125, 6.4.3)."""
    if name.startswith("*."):
        return domain.partition(".")[2] == name[2:].lower()
    return name.lower() == domain


def judge(environment: Environment, certificate: Certificate | None, now: datetime) -> Row:
    """The row. Pure but for the authority's file."""
    tls, file = environment.gateway.tls, f"environments/{environment.name}.yaml"
    if tls is None or certificate is None:
        if environment.gateway.scheme == "internet-facing":
            return Row(
                "fail",
                "internet-facing without TLS: keys and prompts would pass in the clear",
                f"set gateway.tls in {file}: domain, and a certificate of ACM in {environment.region}",
            )
        return Row("ok", "plain HTTP, behind an internal load balancer")
    try:
        authority(environment)
    except InputError as error:
        return Row("fail", error.cause, error.next_command or "")
    return _of_certificate(tls, environment.region, certificate, now)


def _of_certificate(tls: Tls, region: str, certificate: Certificate, now: datetime) -> Row:
    request = (
        f"aws acm request-certificate --region {region} --domain-name {tls.domain} --validation-method DNS"
    )
    describe = f"aws acm describe-certificate --region {region} --certificate-arn {tls.certificate}"
    if region_of(tls) != region:
        return Row(
            "fail",
            f"the certificate is of {region_of(tls)}: a load balancer in {region} takes one of its own region",
            request,
        )
    if certificate == MISSING:
        return Row("fail", f"ACM has no certificate {tls.certificate} in this account", request)
    if not any(covers(name, tls.domain) for name in certificate.names):
        return Row(
            "fail", f"the certificate is for {', '.join(certificate.names)}, not for {tls.domain}", request
        )
    if certificate.status != "ISSUED":
        why = f": {certificate.why}" if certificate.why else ""
        return Row("fail", f"the certificate is {certificate.status}, not ISSUED{why}", describe)
    return _of_end(tls, certificate, now, describe)


def _of_end(tls: Tls, certificate: Certificate, now: datetime, describe: str) -> Row:
    """Whether it ends soon. One that ACM renews is late once ACM should have renewed it."""
    if certificate.ends is None:
        return Row("fail", "ACM does not say when the certificate ends", describe)
    left = certificate.ends - now
    said = f"{tls.domain}, until {certificate.ends:%Y-%m-%d}"
    renewal = "ACM should have renewed it" if certificate.renews else "imported: whoever did renews it"
    if left < TOO_LATE:
        return Row("fail", f"the certificate ends {certificate.ends:%Y-%m-%d %H:%M} UTC; {renewal}", describe)
    if left < RENEWAL_LATE:
        return Row("warn", f"{said}, in {left.days} days; {renewal}", describe)
    return Row("ok", said)


def today() -> datetime:
    return datetime.now(UTC)
