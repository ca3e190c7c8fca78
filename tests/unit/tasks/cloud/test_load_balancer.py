from __future__ import annotations

from typing import Any

import pytest

from tasks.cloud import inside, load_balancer
from tasks.records.environment import Environment
from tasks.records.errors import InputError
from tasks.rollout.gateway import documents
from tests.support.builders import ROOT, an_environment

DOMAIN = "models.example.com"
ARN = "arn:aws:acm:us-east-1:111122223333:certificate/12345678-1234-1234-1234-123456789012"
PREFIX = load_balancer.PREFIX


def with_tls(**gateway: Any) -> Environment:
    return an_environment(gateway={"tls": {"domain": DOMAIN, "certificate": ARN}, **gateway})


def service(environment: Environment) -> dict[str, Any]:
    [found] = [each for each in documents(ROOT, environment, {}) if each["kind"] == "Service"]
    return found


def test_with_tls_the_controller_makes_it_and_its_only_port_speaks_tls() -> None:
    found = service(with_tls())
    notes, spec = found["metadata"]["annotations"], found["spec"]
    assert spec["loadBalancerClass"] == "service.k8s.aws/nlb"
    assert [(port["name"], port["port"], port["targetPort"]) for port in spec["ports"]] == [
        ("https", 443, "http")
    ]
    assert notes[f"{PREFIX}-ssl-cert"] == ARN
    assert notes[f"{PREFIX}-ssl-ports"] == "https"
    assert notes[f"{PREFIX}-scheme"] == "internal"
    assert notes[f"{PREFIX}-additional-resource-tags"] == "slipway:environment=staging"
    assert spec["allocateLoadBalancerNodePorts"] is False
    # both are of EKS's own cloud provider, which is to leave it alone
    assert not {f"{PREFIX}-type", f"{PREFIX}-internal"} & set(notes)


def test_without_tls_it_is_as_before() -> None:
    found = service(an_environment())
    assert found["metadata"]["annotations"] == {
        f"{PREFIX}-type": "nlb",
        f"{PREFIX}-scheme": "internal",
        f"{PREFIX}-internal": "true",
    }
    assert "loadBalancerClass" not in found["spec"]
    assert found["spec"]["ports"] == [{"name": "http", "port": 8080, "targetPort": "http"}]


@pytest.mark.parametrize(
    ("gateway", "url"),
    [
        ({}, f"https://{DOMAIN}"),
        ({"port": 8443}, f"https://{DOMAIN}:8443"),
        ({"tls": None}, "http://lb.test:8080"),
    ],
)
def test_clients_ask_by_the_domain(gateway: dict[str, Any], url: str) -> None:
    assert load_balancer.base_url(with_tls(**gateway), "lb.test") == url


class OneService:
    def __init__(self, *hosts: str) -> None:
        ingress = [{"hostname": host} for host in hosts]
        self.found = {
            "spec": {"clusterIP": "10.96.0.5"},
            "status": {"loadBalancer": {"ingress": ingress}},
        }

    def get(self, *_: str) -> dict[str, Any]:
        return self.found


@pytest.mark.parametrize(
    ("gateway", "at"),
    [
        ({}, {"base_url": f"https://{DOMAIN}/llama/v1", "connect_to": "lb.test", "authority": ""}),
        (
            {"scheme": "internet-facing", "clients": ["198.51.100.0/24"]},
            {"base_url": "http://10.96.0.5:443/llama/v1", "connect_to": "", "authority": ""},
        ),
    ],
)
def test_jobs_ask_an_internal_load_balancer_as_clients_do_and_a_public_one_not(
    gateway: dict[str, Any], at: dict[str, str]
) -> None:
    cluster: Any = OneService("lb.test")
    assert inside.asked_at(cluster, with_tls(**gateway), "llama") == at


def test_jobs_are_let_out_to_the_load_balancer_and_to_names_only_where_they_ask_it() -> None:
    rules = inside.policy(with_tls())["spec"]["egress"]
    assert rules[1]["to"] == [{"ipBlock": {"cidr": "10.0.0.0/16"}}]
    assert rules[1]["ports"] == [{"protocol": "TCP", "port": 443}]
    assert {port["port"] for port in rules[2]["ports"]} == {53}
    assert len(inside.policy(an_environment())["spec"]["egress"]) == 1


def test_the_load_balancer_lets_the_jobs_in_beside_the_clients() -> None:
    clients = with_tls(clients=["10.9.0.0/16"])
    assert load_balancer.source_ranges(clients) == ["10.9.0.0/16", "10.0.0.0/16"]
    assert load_balancer.source_ranges(an_environment(gateway={"clients": ["10.9.0.0/16"]})) == [
        "10.9.0.0/16"
    ]


@pytest.mark.parametrize(("has", "wants"), [(None, True), ("service.k8s.aws/nlb", False)])
def test_a_service_of_the_other_kind_is_refused_before_anything_moves(
    has: str | None, *, wants: bool
) -> None:
    there: dict[str, Any] = {
        "metadata": {"name": "llm-gateway"},
        "spec": {"type": "LoadBalancer", "loadBalancerClass": has},
    }
    environment = with_tls() if wants else an_environment()
    with pytest.raises(InputError, match="a Service keeps its loadBalancerClass"):
        load_balancer.check_kept(there, environment)
    load_balancer.check_kept(there, an_environment() if wants else with_tls())
    load_balancer.check_kept(None, environment)
