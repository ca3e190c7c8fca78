"""How many GPU nodes replicas need."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.records.node_count import nodes_for, replicas_a_node


@pytest.mark.parametrize(
    ("replicas", "gpus_each", "gpus_a_node", "held", "nodes"),
    [
        (1, 1, 1, [], 1),
        (2, 1, 1, [], 2),
        (2, 1, 4, [], 1),
        (5, 1, 4, [], 2),
        (1, 4, 4, [], 1),
        (3, 4, 8, [], 2),
        (2, 3, 8, [], 1),
        (3, 3, 8, [], 2),  # two of three GPUs fit a node of eight, two stay free
        (1, 1, 1, [0], 1),
        (1, 1, 1, [1], 2),  # somebody else's pod has the node
        (2, 1, 1, [1, 0], 3),
        (2, 1, 4, [2], 1),
        (1, 2, 4, [3], 2),  # one GPU is free, and a replica needs two on one node
        (1, 1, 1, [0, 0, 0], 3),  # nodes that are there stay
        (1, 1, 1, [2], 2),  # two pods of others ask for what one GPU is there for
    ],
)
def test_nodes_for(replicas: int, gpus_each: int, gpus_a_node: int, held: list[int], nodes: int) -> None:
    assert nodes_for(replicas, gpus_each, gpus_a_node, held) == nodes


def test_a_replica_that_fits_no_node_is_refused() -> None:
    with pytest.raises(ValueError, match="a replica asks for 4 GPUs, and a node has 1"):
        nodes_for(1, 4, 1)


@given(
    st.integers(0, 40), st.integers(1, 8), st.sampled_from([1, 4, 8]), st.lists(st.integers(0, 8), max_size=6)
)
def test_as_many_as_needed_and_no_more(replicas: int, each: int, a_node: int, held: list[int]) -> None:
    if not replicas_a_node(each, a_node):
        return
    nodes = nodes_for(replicas, each, a_node, held)
    free = sum(max(0, a_node - others) // each for others in held)
    new = nodes - len(held)
    assert free + new * (a_node // each) >= replicas
    assert new == 0 or free + (new - 1) * (a_node // each) < replicas
