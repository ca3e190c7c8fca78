from __future__ import annotations

from typing import Any

import pytest

from tasks.infra.existing import staying
from tasks.infra.stacks import StackName
from tests.support.builders import an_environment


@pytest.mark.parametrize(
    ("existing", "stack", "named"),
    [
        ({}, "cluster", []),
        ({}, "storage", []),
        ({"cluster": "shared", "node_group": "gpu"}, "cluster", ["the cluster shared", "its node group gpu"]),
        ({"vpc": "vpc-1"}, "cluster", ["the VPC vpc-1"]),
        ({"subnets": ["subnet-a", "subnet-b"]}, "cluster", ["the subnets subnet-a, subnet-b"]),
        ({"vpc": "vpc-1", "model_bucket": True}, "storage", ["the model bucket acme-models, with all"]),
    ],
)
def test_what_a_teardown_leaves_is_named(
    existing: dict[str, Any], stack: StackName, named: list[str]
) -> None:
    found = staying(an_environment(existing=existing, storage={"model_bucket": "acme-models"}), stack)
    assert [line.partition(" stays")[0].partition(" that is in it")[0] for line in found] == named
