"""What a node group is asked for before its minimum is raised."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from tasks.infra.minimum import GPU_GROUP, decide_raise, refuse_nodes_that_would_go
from tasks.records.errors import InputError
from tests.support.builders import ROOT, an_environment


@pytest.mark.parametrize(
    ("sizes", "minimum", "wanted"),
    [
        ((0, 0, 2), 0, None),
        ((0, 1, 2), 1, None),
        ((0, 0, 2), 1, (0, 1, 2)),
        ((0, 1, 2), 3, (0, 3, 3)),
    ],
)
def test_a_group_is_raised_to_its_new_minimum_and_no_further(
    sizes: tuple[int, int, int], minimum: int, wanted: tuple[int, int, int] | None
) -> None:
    keys = ("minSize", "desiredSize", "maxSize")
    expected = dict(zip(keys, wanted, strict=True)) if wanted else None
    assert decide_raise(dict(zip(keys, sizes, strict=True)), minimum) == expected


def test_the_group_is_called_what_terraform_calls_it() -> None:
    text = "".join(file.read_text() for file in (ROOT / "infra/terraform/cluster").glob("*.tf"))
    # in a cluster that exists the name has the environment's prefix
    assert f'gpu_node_group = local.makes_cluster == 1 ? "{GPU_GROUP}" : "${{var.name}}-{GPU_GROUP}"' in text


class Eks:
    """One node group of so many nodes; None: there is none."""

    def __init__(self, nodes: int | None) -> None:
        self.nodes = nodes

    def client(self, service: str) -> Any:
        assert service == "eks"
        return self

    def describe_nodegroup(self, *, clusterName: str, nodegroupName: str) -> Any:  # noqa: N803
        assert (clusterName, nodegroupName) == ("slipway-staging", "gpu")
        if self.nodes is None:
            raise ClientError(
                {"Error": {"Code": "ResourceNotFoundException", "Message": "no"}}, "DescribeNodegroup"
            )
        return {"nodegroup": {"scalingConfig": {"desiredSize": self.nodes}}}


@pytest.mark.parametrize("nodes", [None, 0])
def test_karpenter_takes_the_place_of_a_group_without_nodes(nodes: int | None) -> None:
    eks: Any = Eks(nodes)
    refuse_nodes_that_would_go(an_environment(), eks)


def test_a_group_with_nodes_is_not_taken_from_under_what_serves() -> None:
    eks: Any = Eks(2)
    with pytest.raises(InputError, match="the GPU node group has 2 nodes") as caught:
        refuse_nodes_that_would_go(an_environment(), eks)
    assert "scale-down" in str(caught.value.next_command)
