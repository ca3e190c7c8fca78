from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tasks.preflight.front_door import MISSING, Certificate, covers, judge
from tasks.records.environment import Environment
from tests.support.builders import an_environment

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
DOMAIN = "models.example.com"
ARN = "arn:aws:acm:us-east-1:111122223333:certificate/12345678-1234-1234-1234-123456789012"


def with_tls(**tls: Any) -> Environment:
    return an_environment(gateway={"tls": {"domain": DOMAIN, "certificate": ARN, **tls}})


def a_certificate(days: float = 300, **more: Any) -> Certificate:
    given: dict[str, Any] = {
        "status": "ISSUED",
        "names": (DOMAIN,),
        "ends": NOW + timedelta(days=days),
        "renews": True,
    }
    return Certificate(**given | more)


def test_a_certificate_that_will_do_is_told_with_its_end() -> None:
    row = judge(with_tls(), a_certificate(), NOW)
    assert (row.status, row.detail) == ("ok", f"{DOMAIN}, until 2027-09-26")


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (MISSING, "ACM has no certificate"),
        (a_certificate(names=("other.example.com",)), "is for other.example.com, not for models.example.com"),
        (a_certificate(names=("*.other.com", "example.com")), "is for *.other.com, example.com, not for"),
        (a_certificate(status="PENDING_VALIDATION", ends=None), "is PENDING_VALIDATION, not ISSUED"),
        (a_certificate(status="FAILED", why="CAA_ERROR", ends=None), "is FAILED, not ISSUED: CAA_ERROR"),
        (a_certificate(status="EXPIRED", days=-1), "is EXPIRED, not ISSUED"),
        (a_certificate(days=2), "ends 2026-12-02 12:00 UTC; ACM should have renewed it"),
        (a_certificate(days=2, renews=False), "imported: whoever did renews it"),
    ],
)
def test_what_no_client_could_verify_is_refused(found: Certificate, words: str) -> None:
    row = judge(with_tls(), found, NOW)
    assert row.status == "fail"
    assert words in row.detail
    assert row.next_command.startswith("aws acm ")


def test_one_that_ends_soon_is_warned_of() -> None:
    row = judge(with_tls(), a_certificate(days=44), NOW)
    assert (row.status, "in 44 days; ACM should have renewed it" in row.detail) == ("warn", True)
    assert judge(with_tls(), a_certificate(days=46), NOW).status == "ok"


def test_one_of_another_region_is_refused_with_the_region_it_is_of() -> None:
    row = judge(with_tls(certificate=ARN.replace("us-east-1", "eu-west-1")), MISSING, NOW)
    assert row.status == "fail"
    assert "of eu-west-1: a load balancer in us-east-1 takes one of its own" in row.detail


def test_an_authority_that_cannot_be_read_is_refused() -> None:
    row = judge(with_tls(authority="no/such/file.pem"), a_certificate(), NOW)
    assert (row.status, "no/such/file.pem" in row.detail) == ("fail", True)


def test_a_public_gateway_without_tls_is_refused_and_an_internal_one_is_not() -> None:
    public = an_environment(gateway={"scheme": "internet-facing", "clients": ["198.51.100.0/24"]})
    row = judge(public, None, NOW)
    assert row.status == "fail"
    assert "gateway.tls" in row.next_command
    assert judge(an_environment(), None, NOW).status == "ok"


@pytest.mark.parametrize(
    ("name", "domain", "whether"),
    [
        ("models.example.com", "models.example.com", True),
        ("Models.Example.com", "models.example.com", True),
        ("*.example.com", "models.example.com", True),
        ("*.example.com", "example.com", False),
        ("*.example.com", "a.models.example.com", False),
        ("example.com", "models.example.com", False),
    ],
)
def test_a_wildcard_stands_for_one_label(name: str, domain: str, *, whether: bool) -> None:
    assert covers(name, domain) is whether
