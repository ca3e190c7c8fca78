from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from tasks.records.environment import Environment
from tasks.records.errors import InputError
from tests.support.builders import an_environment


def test_a_shell_without_a_required_variable_is_told_the_command_that_sets_it() -> None:
    environment = an_environment(requires={"AWS_PROFILE": "aws sso login"})
    with pytest.raises(InputError) as caught:
        environment.check_variables({"AWS_PROFILE": ""})
    assert caught.value.next_command == "aws sso login"


def test_a_shell_that_has_them_and_environments_that_need_none_are_let_through() -> None:
    an_environment(requires={"AWS_PROFILE": "aws sso login"}).check_variables({"AWS_PROFILE": "staging"})
    an_environment().check_variables({})


@pytest.mark.parametrize(
    ("over", "said"),
    [
        ({"cluster": {"gpu": {"alternative_types": ["g6.2xlarge"]}}}, "alternative_types does nothing"),
        ({"cluster": {"gpu": {"consolidate_after": "5m"}}}, "consolidate_after does nothing"),
        ({"cluster": {"gpu": {"startup_taints": [{"key": "a"}]}}}, "startup_taints does nothing"),
        ({"cluster": {"gpu": {"capacity_type": "SPOT_OR_ON_DEMAND"}}}, "needs provisioner: karpenter"),
        ({"cluster": {"gpu": {"provisioner": "karpenter", "min": 1}}}, "min does nothing"),
        ({"cluster": {"gpu": {"provisioner": "karpenter", "desired": 1}}}, "desired does nothing"),
        ({"cluster": {"gpu": {"provisioner": "karpenter", "ami": "al2023"}}}, "al2023"),
        (
            {"cluster": {"gpu": {"provisioner": "node-group", "price_ceiling": 1}}},
            "price_ceiling does nothing",
        ),
        ({"cluster": {"gpu": {"provisioner": "karpenter", "on_demand_base": 1}}}, "is below spot nodes"),
        (
            {
                "cluster": {
                    "gpu": {
                        "on_demand_base": 2,
                        "capacity_type": "SPOT",
                        "max": 2,
                        "provisioner": "karpenter",
                    }
                }
            },
            "leaves no node to spot",
        ),
        ({"cluster": {"gpu": {"provisioner": "karpenter", "other_zones": ["eu-west-1b"]}}}, "name that too"),
        (
            {"cluster": {"gpu": {"provisioner": "karpenter", "zone": "a", "other_zones": ["a"]}}},
            "which is zone",
        ),
        (
            {
                "cluster": {
                    "zones": ["eu-west-1a", "eu-west-1b"],
                    "gpu": {"provisioner": "karpenter", "zone": "eu-west-1a", "other_zones": ["eu-west-1c"]},
                }
            },
            "eu-west-1c is not",
        ),
        (
            {"cluster": {"gpu": {"provisioner": "karpenter"}}, "existing": {"cluster": "platform"}},
            "only in a cluster that Slipway makes",
        ),
    ],
)
def test_a_setting_that_the_provisioner_does_not_know_is_refused(over: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        an_environment(**over)


def test_every_type_a_node_may_be_of_is_named_once() -> None:
    gpu = {"provisioner": "karpenter", "alternative_types": ["g6.2xlarge", "g5.2xlarge"]}
    assert an_environment(cluster={"gpu": gpu}).cluster.gpu.types == ("g5.2xlarge", "g6.2xlarge")


@pytest.mark.parametrize(
    ("gpu", "existing", "by_pods"),
    [
        ({}, {}, True),
        ({"provisioner": "node-group"}, {}, False),
        ({"min": 1}, {}, False),
        ({"desired": 2}, {}, False),
        ({}, {"cluster": "platform"}, False),
        ({}, {"vpc": "vpc-0a"}, True),
        ({"alternative_types": ["g6.2xlarge"]}, {}, True),
    ],
)
def test_karpenter_makes_the_nodes_unless_something_speaks_for_a_node_group(
    gpu: dict[str, Any], existing: dict[str, Any], by_pods: bool
) -> None:
    where = Environment.model_validate(
        {
            "name": "new",
            "region": "eu-west-1",
            "cluster": {"name": "slipway-new", "gpu": gpu},
            "storage": {"model_bucket": "a-models", "state_bucket": "a-states"},
            "existing": existing,
        }
    )
    assert where.cluster.gpu.uses_karpenter is by_pods


@pytest.mark.parametrize("budget", [0, -1.5])
def test_a_budget_of_nothing_is_refused(budget: float) -> None:
    with pytest.raises(ValidationError, match="budget"):
        an_environment(budget=budget)
