"""TLS to the client: a load balancer of the AWS Load Balancer Controller, asked over https by gate, load and callers."""

from __future__ import annotations

import ssl
from base64 import b64decode
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from tasks.cloud.plain_http import UNREACHABLE, Way, ask
from tasks.records.names import KEY_ENTRY, OWN_KEY_SECRET
from tasks.records.results import Endpoint
from tasks.releases.ledger import Ledger
from tests.support.certificates import Issued, issued
from tests.support.commands import Done
from tests.support.project import Project, another_environment, edit

pytestmark = pytest.mark.long

MODEL, WHERE, DOMAIN = "tiny-llama", "door", "models.door.test"
CLUSTER, NAMESPACE = f"slipway-{WHERE}", f"llm-{WHERE}"
AUTHORITY = "door-authority.pem"
TEARDOWN = ("teardown", "-e", WHERE, "--models", "delete", "--volumes", "delete")
PREFLIGHT = 3


@pytest.fixture(scope="module")
def certificate() -> Issued:
    return issued(DOMAIN)


def imported(project: Project, made: Issued) -> str:
    """The certificate in ACM; its ARN."""
    answer = project.client("acm").import_certificate(
        Certificate=made.certificate.encode(), PrivateKey=made.key.encode()
    )
    return str(answer["CertificateArn"])


def with_tls(project: Project, arn: str, **more: str) -> None:
    another_environment(project, WHERE)
    tls = {"domain": DOMAIN, "certificate": arn, "authority": AUTHORITY, **more}
    edit(project.home / "environments" / f"{WHERE}.yaml", {"gateway": {"tls": tls}})


@pytest.fixture(scope="module")
def deployed(project: Project, certificate: Issued) -> Iterator[Done]:
    """tiny-llama in an environment of its own, whose gateway has TLS."""
    (project.home / AUTHORITY).write_text(certificate.authority)
    with_tls(project, imported(project, certificate))
    try:
        yield project.run("deploy", MODEL, "-e", WHERE).succeeded()
    finally:
        if CLUSTER in project.client("eks").list_clusters()["clusters"]:
            project.run(*TEARDOWN)


def endpoint(project: Project) -> Endpoint:
    ledger = Ledger(project.client("s3"), f"slipway-{WHERE}-models", WHERE, MODEL)
    serving = ledger.serving().serving
    assert serving
    rollout = ledger.record(serving).rollout
    assert rollout
    return rollout.endpoint


def balancers(project: Project) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = project.client("elbv2").describe_load_balancers()["LoadBalancers"]
    return found


def listeners(project: Project) -> list[dict[str, Any]]:
    [balancer] = balancers(project)
    found: list[dict[str, Any]] = project.client("elbv2").describe_listeners(
        LoadBalancerArn=balancer["LoadBalancerArn"]
    )["Listeners"]
    return found


def headers(project: Project) -> dict[str, str]:
    with project.sandbox.api(CLUSTER) as api:
        secret = api.get(f"/api/v1/namespaces/{NAMESPACE}/secrets/{OWN_KEY_SECRET}").raise_for_status().json()
    return {"Authorization": f"Bearer {b64decode(secret['data'][KEY_ENTRY]).decode()}"}


def test_preflight_tells_of_a_certificate_that_would_not_do_and_nothing_is_made(
    project: Project, certificate: Issued
) -> None:
    (project.home / AUTHORITY).write_text(certificate.authority)
    of_another = imported(project, issued("other.door.test"))
    nearly_over = imported(project, issued(DOMAIN, days=1))
    good = imported(project, certificate)
    told = {
        of_another: f"for other.door.test, not for {DOMAIN}",
        nearly_over: "the certificate ends",
        good.replace("us-east-1", "eu-west-1"): "the certificate is of eu-west-1",
        f"{good[:-4]}0000": "ACM has no certificate",
    }
    for arn, words in told.items():
        with_tls(project, arn)
        refused = project.run("deploy", MODEL, "-e", WHERE)
        assert (refused.code, words in refused.output) == (PREFLIGHT, True), refused.output
    assert f"slipway-{WHERE}-models" not in {
        bucket["Name"] for bucket in project.client("s3").list_buckets()["Buckets"]
    }
    assert balancers(project) == []


def test_the_controller_proved_itself_by_a_load_balancer_and_made_the_gateways(
    project: Project, deployed: Done
) -> None:
    assert "aws-load-balancer-controller: proven (load-balancer-made)" in deployed.output
    [balancer] = balancers(project)
    assert (balancer["Type"], balancer["Scheme"]) == ("network", "internal")
    [listener] = listeners(project)
    assert (listener["Protocol"], listener["SslPolicy"]) == ("TLS", "ELBSecurityPolicy-TLS13-1-2-2021-06")
    assert "PASS" in deployed.output


def test_a_client_verifies_the_certificate_and_one_without_the_authority_does_not_come_in(
    project: Project, deployed: Done, certificate: Issued
) -> None:
    at = endpoint(project)
    assert urlsplit(at.base_url).scheme == "https"
    assert urlsplit(at.base_url).hostname == DOMAIN
    assert f"{DOMAIN} CNAME {at.connect_to}" in deployed.output
    body = {"model": MODEL, "prompt": "Hello", "max_tokens": 4}
    way = Way(at.connect_to, certificate.authority)
    answer = ask(f"{at.base_url}/completions", headers(project), body, way=way)
    assert (answer.status, bool(answer.json()["choices"])) == (200, True)
    for refused in (Way(at.connect_to), Way(at.connect_to, issued(DOMAIN).authority)):
        with pytest.raises(ssl.SSLCertVerificationError):
            ask(f"{at.base_url}/models", headers(project), way=refused)
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        ask(at.base_url.replace(DOMAIN, "other.door.test"), headers(project), way=way)
    with pytest.raises(UNREACHABLE):
        ask(f"{at.base_url.replace('https:', 'http:')}/models", headers(project), way=way)


def test_a_load_from_here_goes_over_tls_and_fails_where_the_authority_is_another(
    project: Project, deployed: Done, certificate: Issued
) -> None:
    proven = project.run("validate", MODEL, "-e", WHERE, "--measure-from", "here").succeeded()
    assert "PASS" in proven.output
    (project.home / AUTHORITY).write_text(issued(DOMAIN).authority)
    try:
        failed = project.run("validate", MODEL, "-e", WHERE, "--measure-from", "here")
    finally:
        (project.home / AUTHORITY).write_text(certificate.authority)
    assert failed.code != 0
    assert "certificate" in failed.output


def test_the_endpoint_command_can_be_tried_before_the_record_is_made(
    project: Project, deployed: Done
) -> None:
    shown = project.run("endpoint", MODEL, "-e", WHERE).succeeded().output
    assert f"--connect-to {DOMAIN}:" in shown
    assert f"--cacert {AUTHORITY}" in shown


def test_another_certificate_is_taken_by_the_listener_that_is_there(project: Project, deployed: Done) -> None:
    before, renewed = balancers(project), issued(DOMAIN)
    arn = imported(project, renewed)
    (project.home / AUTHORITY).write_text(renewed.authority)
    with_tls(project, arn)
    project.run("deploy", MODEL, "-e", WHERE).succeeded()
    [listener] = listeners(project)
    assert [each["CertificateArn"] for each in listener["Certificates"]] == [arn]
    assert [each["LoadBalancerArn"] for each in balancers(project)] == [
        each["LoadBalancerArn"] for each in before
    ]


def test_a_gateway_that_has_tls_is_not_put_back_to_plain_http_unasked(
    project: Project, deployed: Done
) -> None:
    file = project.home / "environments" / f"{WHERE}.yaml"
    before = file.read_text()
    another_environment(project, WHERE)
    try:
        refused = project.run("deploy", MODEL, "-e", WHERE)
    finally:
        file.write_text(before)
    assert refused.code == PREFLIGHT, refused.output
    assert "add-on" not in refused.output
    assert "a Service keeps its loadBalancerClass" in refused.output


def test_a_teardown_leaves_no_load_balancer(project: Project, deployed: Done) -> None:
    project.run(*TEARDOWN).succeeded()
    assert balancers(project) == []
    assert project.client("elbv2").describe_target_groups()["TargetGroups"] == []
