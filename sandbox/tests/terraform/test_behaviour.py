"""What replaces, what has a default and what AWS fills in, held against hashicorp/aws by aws_behaviour.json."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from slipway_sandbox.terraform.provider.resources import RESOURCES
from slipway_sandbox.terraform.provider.schema import MISSING, Attribute, Block

BEHAVIOUR: dict[str, Any] = json.loads(Path(__file__).with_name("aws_behaviour.json").read_text())
NOT_THE_TYPES = ("id", "tags", "tags_all")  # the same for every type


def attributes(block: Block, prefix: str = "") -> Iterator[tuple[str, Attribute]]:
    """Everything a configuration can set, by path."""
    for name, attribute in block.attributes.items():
        if (prefix or name not in NOT_THE_TYPES) and (attribute.required or attribute.optional):
            yield prefix + name, attribute
    for name, nested in block.blocks.items():
        yield from attributes(nested, f"{prefix}{name}.")


def filled_in(block: Block, prefix: str = "") -> Iterator[str]:
    """What is optional and, left out, comes from AWS."""
    for name, attribute in block.attributes.items():
        if attribute.optional and attribute.computed and attribute.default is MISSING:
            yield prefix + name
    for name, nested in block.blocks.items():
        if nested.computed:
            yield prefix + name
        yield from filled_in(nested, f"{prefix}{name}.")


def test_every_type_is_in_the_table() -> None:
    assert sorted(BEHAVIOUR["resources"]) == sorted(RESOURCES)


@pytest.mark.parametrize("name", sorted(RESOURCES))
def test_the_same_attributes_replace(name: str) -> None:
    ours = sorted(path for path, a in attributes(RESOURCES[name].schema) if a.forces_new)
    assert ours == sorted(BEHAVIOUR["resources"][name]["forces_new"])


@pytest.mark.parametrize("name", sorted(RESOURCES))
def test_the_same_attributes_have_the_same_defaults(name: str) -> None:
    ours = {path: a.default for path, a in attributes(RESOURCES[name].schema) if a.default is not MISSING}
    assert ours == BEHAVIOUR["resources"][name]["defaults"]


@pytest.mark.parametrize("name", sorted(RESOURCES))
def test_the_same_attributes_are_filled_in_by_aws(name: str) -> None:
    row = BEHAVIOUR["resources"][name]
    wanted = set(row["filled_in"]) - set(row.get("not_ours", ()))
    assert set(filled_in(RESOURCES[name].schema)) == wanted
