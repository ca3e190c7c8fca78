"""TLS between clients and the gateway's load balancer."""

from __future__ import annotations

from pydantic import Field

from tasks.records.record import Record

DEFAULT_PORT = 443
_LABEL = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"


class Tls(Record):
    """Clients ask https://DOMAIN, by a certificate of AWS Certificate Manager; nothing answers plain HTTP.

    The AWS Load Balancer Controller makes the load balancer; a deploy installs it.
    """

    domain: str = Field(
        pattern=rf"^{_LABEL}(\.{_LABEL})+$", max_length=253, description="the name that clients ask by"
    )
    certificate: str = Field(
        pattern=r"^arn:[^:]+:acm:[^:]+:\d{12}:certificate/[-0-9a-f]+$",
        description="its certificate in ACM, of the environment's region and for this domain",
    )
    policy: str = Field(
        "ELBSecurityPolicy-TLS13-1-2-2021-06",
        pattern=r"^ELBSecurityPolicy-[-A-Za-z0-9]+$",
        description="protocols and ciphers: "
        "https://docs.aws.amazon.com/elasticloadbalancing/latest/network/describe-ssl-policies.html",
    )
    authority: str | None = Field(
        None,
        description="a PEM file of the private authority that signed it, from the project's root; none: a public one did",
    )
