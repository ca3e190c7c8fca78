"""Why a gateway is not reached, by where it was asked from and the policies in force."""

from __future__ import annotations

from typing import Any

import pytest

from tasks.cloud import inside
from tasks.cloud.kubernetes import Object
from tasks.records.names import GATEWAY
from tasks.records.reports import MeasureFrom
from tasks.rollout import gateway, namespace
from tasks.rollout.endpoint_check import GatewayUnreached
from tasks.rollout.network import explain_unreached
from tests.support.builders import ROOT, an_environment
from tests.support.canned import CannedCluster

WHERE = an_environment()
CUT = GatewayUnreached("the gateway does not answer", evidence=["http://10.96.0.5: TimeoutError: timed out"])


def applied(*without: str) -> CannedCluster:
    """The namespace with its gateway, but for the policies of those names."""
    documents: list[Object] = [
        *namespace.documents(ROOT, WHERE),
        *gateway.documents(ROOT, WHERE, {}),
        inside.policy(WHERE),
    ]
    kept = [
        one for one in documents if one["kind"] != "NetworkPolicy" or one["metadata"]["name"] not in without
    ]
    return CannedCluster(*kept)


@pytest.mark.parametrize(
    ("cluster", "measure_from", "cause", "command"),
    [
        (
            applied("slipway-validation"),
            "cluster",
            "network policies cut the path from the gate's job to the gateway: "
            "egress policy of the gate's job (default-deny)",
            "get networkpolicy",
        ),
        (
            applied(GATEWAY),
            "cluster",
            "network policies cut the path from the gate's job to the gateway: "
            "ingress policy of llm-gateway (default-deny)",
            "get networkpolicy",
        ),
        (applied(), "cluster", "does not answer to a job inside the cluster", "get endpointslices"),
        (applied(), "here", "from here: its load balancer is internal to the VPC", "without --from here"),
    ],
)
def test_the_way_is_explained_from_where_it_was_asked(
    cluster: CannedCluster, measure_from: MeasureFrom, cause: str, command: str
) -> None:
    api: Any = cluster
    failure = explain_unreached(api, WHERE, measure_from, CUT)
    assert cause in failure.cause
    assert command in str(failure.next_command)
    assert failure.evidence[0] == CUT.evidence[0]
