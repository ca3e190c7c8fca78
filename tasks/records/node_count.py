"""How many GPU nodes a number of replicas needs. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence


def replicas_a_node(gpus_each: int, gpus_a_node: int) -> int:
    """Replicas of `gpus_each` GPUs that fit one empty node; 0 where a node has too few."""
    return gpus_a_node // gpus_each


def nodes_for(replicas: int, gpus_each: int, gpus_a_node: int, held: Sequence[int] = ()) -> int:
    """Nodes that must be there for so many replicas, those that are there already among them.

    Args:
        gpus_each: GPUs a replica asks for; they are on one node.
        held: GPUs that pods of others ask for, on each node that is there.

    Raises ValueError where a node has too few GPUs for a replica.
    """
    a_node = replicas_a_node(gpus_each, gpus_a_node)
    if not a_node:
        raise ValueError(f"a replica asks for {gpus_each} GPUs, and a node has {gpus_a_node}")
    free = sum(max(0, gpus_a_node - others) // gpus_each for others in held)
    return len(held) + math.ceil(max(0, replicas - free) / a_node)
