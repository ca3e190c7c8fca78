from __future__ import annotations

from typing import Any

import pytest

from tasks.cloud.vpc import Subnet, choose_subnets, default_route
from tasks.records.errors import InputError

A = Subnet("subnet-a", "vpc-1", "us-east-1a", "nat-1")
A2 = Subnet("subnet-a2", "vpc-1", "us-east-1a", "nat-1")
B = Subnet("subnet-b", "vpc-1", "us-east-1b")
PUBLIC = Subnet("subnet-0", "vpc-1", "us-east-1a", "igw-1")
OTHER = Subnet("subnet-c", "vpc-2", "us-east-1c")


@pytest.mark.parametrize(
    ("subnets", "options", "chosen"),
    [
        ([B, A], {}, [A, B]),
        ([PUBLIC, A, B], {}, [A, B]),
        ([A2, A, B], {}, [A, B]),
        # what was used before stays, whatever comes to the VPC
        ([A2, A, B], {"kept": ["subnet-a2"]}, [A2, B]),
        ([A, B], {"gpu_zone": "us-east-1b"}, [A, B]),
        # a cluster that exists has its control plane somewhere already
        ([A], {"zones": 1}, [A]),
    ],
)
def test_one_private_subnet_is_taken_of_each_zone(
    subnets: list[Subnet], options: dict[str, Any], chosen: list[Subnet]
) -> None:
    assert list(choose_subnets(subnets, **options)) == chosen


@pytest.mark.parametrize(
    ("subnets", "options", "says"),
    [
        ([A], {}, "in us-east-1a only: EKS needs two zones"),
        ([PUBLIC], {"vpc": "vpc-1"}, "vpc-1 has no private subnet"),
        ([], {"vpc": "vpc-1"}, "vpc-1 has no private subnet"),
        ([A], {"named": ["subnet-a", "subnet-b"]}, "there is no subnet subnet-b"),
        ([A, OTHER], {"named": ["subnet-a", "subnet-c"]}, "not in one VPC"),
        ([A, B, PUBLIC], {"named": ["subnet-0"], "strict": True}, "subnet-0 is public"),
        ([A, B], {"gpu_zone": "us-east-1c"}, "no private subnet in us-east-1c"),
    ],
)
def test_a_network_that_cannot_carry_the_cluster_is_refused_with_its_subnets(
    subnets: list[Subnet], options: dict[str, Any], says: str
) -> None:
    with pytest.raises(InputError, match=says) as refused:
        choose_subnets(subnets, **options)
    assert len(refused.value.evidence) == len(subnets)


def table(route: dict[str, str], *associations: dict[str, Any]) -> dict[str, Any]:
    return {
        "VpcId": "vpc-1",
        "Associations": list(associations),
        "Routes": [{"DestinationCidrBlock": "10.0.0.0/16", "GatewayId": "local"}, route],
    }


def test_a_subnet_without_a_route_table_goes_by_the_main_one() -> None:
    out = "0.0.0.0/0"
    main = table({"DestinationCidrBlock": out, "GatewayId": "igw-1"}, {"Main": True})
    own = table({"DestinationCidrBlock": out, "NatGatewayId": "nat-1"}, {"SubnetId": "subnet-a"})
    assert default_route("subnet-a", "vpc-1", [main, own]) == "nat-1"
    assert default_route("subnet-b", "vpc-1", [main, own]) == "igw-1"
    assert default_route("subnet-b", "vpc-2", [main, own]) == ""
