"""What a node group is asked for before its minimum is raised."""

from __future__ import annotations

import pytest

from tasks.infra.minimum import GPU_GROUP, decide_raise
from tests.support.builders import ROOT


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
