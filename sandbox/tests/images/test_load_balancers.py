"""The AWS Load Balancer Controller's stand-in: which listeners a Service gets, and what is made of them in AWS."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs

import boto3
import pytest
from moto import mock_aws
from moto.iam.access_control import IAMPolicyStatement, PermissionResult

from slipway_sandbox.aws.access import Need, conditions_hold
from slipway_sandbox.aws.needs import needs_of
from slipway_sandbox.images.load_balancers import PREFIX, Cloud, digest_of, listener, name_of
from tests.images.conftest import REPOSITORY

HTTPS = {"name": "https", "port": 443, "targetPort": "http"}


@pytest.fixture
def region(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, value in {
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with mock_aws():
        yield


def a_service(ports: list[dict[str, Any]], **notes: str) -> dict[str, Any]:
    annotations = {f"{PREFIX}{key.replace('_', '-')}": value for key, value in notes.items()}
    metadata = {"namespace": "llm-door", "name": "llm-gateway", "uid": "1", "annotations": annotations}
    return {"metadata": metadata, "spec": {"ports": ports}}


@pytest.mark.parametrize(
    ("notes", "protocol"),
    [
        ({}, "TCP"),
        ({"ssl-cert": "arn"}, "TLS"),
        ({"ssl-cert": "arn", "ssl-ports": "https"}, "TLS"),
        ({"ssl-cert": "arn", "ssl-ports": "80, 443"}, "TLS"),
        ({"ssl-cert": "arn", "ssl-ports": "80"}, "TCP"),
        ({"ssl-ports": "https"}, "TCP"),
    ],
)
def test_a_port_speaks_tls_where_the_service_says_so(notes: dict[str, str], protocol: str) -> None:
    found = listener(HTTPS, {f"{PREFIX}{key}": value for key, value in notes.items()})
    assert found["Protocol"] == protocol


def test_a_name_is_of_this_service_and_fits() -> None:
    name = name_of(a_service([HTTPS]))
    assert name.startswith("k8s-llmdoor-llmgatew-")
    assert len(name) <= 32


def certificates(count: int) -> list[str]:
    acm = boto3.client("acm")
    return [acm.request_certificate(DomainName=f"{n}.test")["CertificateArn"] for n in range(count)]


POLICY = REPOSITORY / "infra" / "terraform" / "cluster" / "load_balancer_controller.json"


def refused(need: Need) -> bool:
    """Whether no statement of the controller's documented policy allows it."""
    for statement in json.loads(POLICY.read_text())["Statement"]:
        bare = IAMPolicyStatement({key: value for key, value in statement.items() if key != "Condition"})
        allowed = bare.is_action_permitted(need.action, need.resource) is PermissionResult.PERMITTED
        if allowed and conditions_hold(statement.get("Condition", {}), need.context):
            return False
    return True


@pytest.fixture
def needs(region: None) -> list[Need]:
    """What the calls of clients that are made from now on need; filled as they are made."""
    found: list[Need] = []

    def hear(request: Any, event_name: str, **_: Any) -> None:
        service = "ec2" if ".ec2." in event_name else "elasticloadbalancing"
        body = request.body.decode() if isinstance(request.body, bytes) else request.body
        given = {name: values[0] for name, values in parse_qs(body).items()}
        found.extend(needs_of(service, given["Action"], given, "us-east-1"))

    boto3.setup_default_session()
    assert boto3.DEFAULT_SESSION
    for service in ("ec2", "elastic-load-balancing-v2"):
        boto3.DEFAULT_SESSION.events.register_first(f"before-send.{service}", hear)
    return found


def test_the_documented_policy_allows_what_the_controller_does_and_not_to_others_load_balancers(
    needs: list[Need],
) -> None:
    elb, vpc = boto3.client("elbv2"), a_vpc()
    cloud, [certificate] = Cloud("cluster", vpc), certificates(1)
    service = a_service([HTTPS], ssl_cert=certificate)
    needs.clear()
    cloud.converge(service)
    cloud.remove(service)
    assert {need.action for need in needs} >= {
        f"elasticloadbalancing:{action}"
        for action in (
            "CreateLoadBalancer",
            "CreateTargetGroup",
            "CreateListener",
            "AddTags",
            "DeleteLoadBalancer",
        )
    }
    assert [need for need in needs if refused(need)] == []
    subnets = [subnet["SubnetId"] for subnet in boto3.client("ec2").describe_subnets()["Subnets"]]
    theirs = elb.create_load_balancer(Name="theirs", Type="network", Subnets=subnets[-1:])
    needs.clear()
    elb.delete_load_balancer(LoadBalancerArn=theirs["LoadBalancers"][0]["LoadBalancerArn"])
    assert [need.action for need in needs if refused(need)] == ["elasticloadbalancing:DeleteLoadBalancer"]


def a_vpc() -> str:
    """A VPC with one subnet for internal load balancers."""
    ec2 = boto3.client("ec2")
    vpc = str(ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"])
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.1.0/24")["Subnet"]["SubnetId"]
    ec2.create_tags(Resources=[subnet], Tags=[{"Key": "kubernetes.io/role/internal-elb", "Value": "1"}])
    return vpc


def test_a_load_balancer_is_made_once_follows_its_service_and_goes_with_it(region: None) -> None:
    elb, vpc = boto3.client("elbv2"), a_vpc()
    cloud, (first, second) = Cloud("cluster", vpc), certificates(2)
    before = a_service([HTTPS], ssl_cert=first, additional_resource_tags="slipway:environment=door")
    arn = cloud.converge(before)
    assert cloud.converge(before) == arn
    assert cloud.converge(a_service([HTTPS], ssl_cert=second)) == arn
    [renewed] = elb.describe_listeners(LoadBalancerArn=arn)["Listeners"]
    assert (renewed["Port"], renewed["Certificates"][0]["CertificateArn"]) == (443, second)
    after = a_service([{**HTTPS, "port": 8443}], ssl_cert=second)
    assert digest_of(after) != digest_of(before)
    assert cloud.converge(after) == arn
    [found] = elb.describe_load_balancers()["LoadBalancers"]
    assert (found["Scheme"], found["Type"]) == ("internal", "network")
    [tags] = elb.describe_tags(ResourceArns=[arn])["TagDescriptions"]
    assert {"Key": "slipway:environment", "Value": "door"} in tags["Tags"]
    assert {"Key": "elbv2.k8s.aws/cluster", "Value": "cluster"} in tags["Tags"]
    [listening] = elb.describe_listeners(LoadBalancerArn=arn)["Listeners"]
    assert (listening["Port"], listening["Protocol"]) == (8443, "TLS")
    assert [each["CertificateArn"] for each in listening["Certificates"]] == [second]
    cloud.remove(after)
    assert elb.describe_load_balancers()["LoadBalancers"] == []
    assert elb.describe_target_groups()["TargetGroups"] == []
    cloud.remove(after)
