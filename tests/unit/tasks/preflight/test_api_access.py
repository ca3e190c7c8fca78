"""Whether the Kubernetes API can be reached from here, as a table."""

from __future__ import annotations

import socket
from types import SimpleNamespace
from typing import Any

import pytest

from tasks.preflight.api_access import ApiSeen, contains, judge, observe
from tests.support.builders import an_environment
from tests.support.loopback import free_port

ENDPOINT = "https://ABC.gr7.eu-west-1.eks.amazonaws.com"
OFFICE, HOME = "203.0.113.9", "198.51.100.7"


@pytest.mark.parametrize(
    ("cidrs", "seen", "status", "detail"),
    [
        ([], ApiSeen(ENDPOINT), "ok", "abc.gr7.eu-west-1.eks.amazonaws.com answers"),
        ([], ApiSeen(ENDPOINT, "no answer within 5 s", (), OFFICE), "fail", "cannot be reached from here"),
        # what is there will be changed by this very run
        (["203.0.113.0/24"], ApiSeen(ENDPOINT, "late", ("192.0.2.0/24",), OFFICE), "warn", "is in it"),
        (["203.0.113.0/24"], ApiSeen(ENDPOINT, "late", ("203.0.113.0/24",), OFFICE), "fail", "(late)"),
        ([], ApiSeen(address=OFFICE), "fail", "is private, and its VPC is not there yet"),
        (["203.0.113.0/24"], ApiSeen(address=OFFICE), "ok", "also us, 203.0.113.9"),
        (["203.0.113.0/24"], ApiSeen(address=HOME), "fail", "calls from here come from 198.51.100.7"),
        (["203.0.113.0/24"], ApiSeen(), "warn", "is not known"),
        (["0.0.0.0/0"], ApiSeen(), "ok", "also us, anywhere"),
    ],
)
def test_the_row_says_at_once_what_would_fail_after_the_cluster_is_made(
    cidrs: list[str], seen: ApiSeen, status: str, detail: str
) -> None:
    row = judge(an_environment(cluster={"public_access_cidrs": cidrs}), seen)
    assert (row.status, detail in row.detail) == (status, True), row
    assert bool(row.next_command) == (status == "fail" or "not known" in row.detail)


def test_the_next_command_names_the_file_and_our_address() -> None:
    row = judge(an_environment(), ApiSeen(address=HOME))
    assert row.next_command.startswith("set cluster.public_access_cidrs: [198.51.100.7/32] in environments/")


def test_a_block_may_be_written_with_host_bits() -> None:
    assert contains(["203.0.113.7/24"], OFFICE)
    assert not contains(["203.0.113.7/32"], OFFICE)


class AwsAt:
    """An AWS whose endpoints are there, with a cluster of that endpoint where one is given."""

    def __init__(self, endpoint_url: str, cluster: str = "") -> None:
        self.meta, self.cluster = SimpleNamespace(endpoint_url=endpoint_url), cluster

    def client(self, service: str) -> Any:
        return self

    def describe_cluster(self, name: str) -> dict[str, Any]:
        return {"cluster": {"endpoint": self.cluster, "resourcesVpcConfig": {"publicAccessCidrs": ["::/0"]}}}


def test_an_api_that_refuses_connections_is_told_with_the_systems_words() -> None:
    aws: Any = AwsAt("http://127.0.0.1:9", f"https://127.0.0.1:{free_port()}")
    seen = observe(an_environment(), aws)
    assert seen.error == "Connection refused"
    assert seen.public_cidrs == ("::/0",)


def test_an_api_that_listens_is_reached_and_nobody_is_asked_for_our_address() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        aws: Any = AwsAt("http://name.invalid", f"https://127.0.0.1:{server.getsockname()[1]}")
        seen = observe(an_environment(), aws)
    assert (seen.error, seen.address) == ("", "")
    assert judge(an_environment(), seen).status == "ok"


@pytest.mark.parametrize(
    ("endpoint", "address"), [("http://127.0.0.1:9", "127.0.0.1"), ("http://name.invalid", "")]
)
def test_our_address_is_the_local_one_on_the_way_to_aws_where_it_is_not_translated(
    endpoint: str, address: str
) -> None:
    nothing_yet: Any = AwsAt(endpoint)
    assert observe(an_environment(), nothing_yet).address == address
