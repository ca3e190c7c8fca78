from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from tasks.records.catalogue import read_document
from tasks.records.environment import Environment
from tests.support.builders import ROOT, an_environment


@pytest.mark.parametrize(
    ("over", "says"),
    [
        ({"existing": {"node_group": "gpu"}}, "one of an existing cluster"),
        ({"existing": {"cluster": "shared", "vpc": "vpc-1"}}, "cluster brings its VPC"),
        ({"existing": {"vpc": "shared"}}, "pattern"),
        ({"existing": {"prometheus": {}}}, "either service or url"),
        (
            {"existing": {"vpc": "vpc-1"}, "cluster": {"vpc_cidr": "10.1.0.0/16"}},
            "cluster.vpc_cidr is of what",
        ),
        ({"existing": {"cluster": "shared"}, "cluster": {"zones": ["a", "b"]}}, "cluster.zones is of what"),
        (
            {"existing": {"cluster": "shared"}, "cluster": {"public_access_cidrs": ["10.0.0.0/8"]}},
            "cluster.public_access_cidrs is of what",
        ),
        ({"tags": {"slipway:environment": "x"}}, "own tag"),
        ({"iam": {"path": "platform"}}, "pattern"),
    ],
)
def test_what_contradicts_itself_or_would_do_nothing_is_refused(over: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        an_environment(**over)


def test_without_anything_that_exists_prometheus_is_the_add_on_and_the_vpc_is_made() -> None:
    made = an_environment()
    assert (
        made.prometheus.address == "http://kube-prometheus-stack-prometheus.monitoring.svc.cluster.local:9090"
    )
    assert (made.eks_cluster, made.address_ranges) == ("slipway-staging", ("10.0.0.0/16",))


def test_a_prometheus_is_a_service_of_the_cluster_or_a_url() -> None:
    service = an_environment(existing={"prometheus": {"namespace": "o11y", "service": "prom", "port": 80}})
    assert service.prometheus.address == "http://prom.o11y.svc.cluster.local:80"
    url = an_environment(existing={"prometheus": {"url": "https://metrics.example.com/"}})
    assert url.prometheus.address == "https://metrics.example.com"


def test_gpu_nodes_may_be_in_any_zone_of_a_network_that_exists() -> None:
    found = an_environment(existing={"vpc": "vpc-1"}, cluster={"gpu": {"zone": "us-east-1c"}})
    assert found.cluster.gpu.zone == "us-east-1c"


def test_the_example_can_be_read() -> None:
    found = read_document(Environment, ROOT / "environments/existing.yaml.example", shown_as="example")
    assert (found.eks_cluster, found.cluster.name) == ("platform", "slipway-shared")
    assert found.prometheus.address == "http://prometheus-operated.monitoring.svc.cluster.local:9090"
