from __future__ import annotations

import json
from typing import Any

import pytest

from slipway_sandbox.terraform.provider.resources import DATA_SOURCES, RESOURCES
from slipway_sandbox.terraform.provider.schema import Block, CtyType
from tests.terraform.reference import REFERENCE

TABLES = {
    "resources": {name: kind.schema for name, kind in RESOURCES.items()},
    "data_sources": {name: kind.schema for name, kind in DATA_SOURCES.items()},
}
AWS = json.loads(REFERENCE.read_text())
TYPES = [(table, name) for table, types in TABLES.items() for name in types]


def notation(kind: CtyType) -> str:
    if isinstance(kind, str):
        return kind
    return f"{ {'set': 'list'}.get(kind[0], kind[0]) }({notation(kind[1])})"


def differences(path: str, ours: Block, theirs: dict[str, Any]) -> list[str]:
    """What our table says otherwise than hashicorp/aws does."""
    found = []
    for name, attribute in ours.attributes.items():
        said = theirs["attributes"].get(name)
        if not (attribute.required or attribute.optional):
            # "computed" is known for whole types only; id and tags_all may be set there, but nobody should
            if "computed" in theirs and said is None and name not in theirs["computed"]:
                found.append(f"{path}.{name}: unknown")
        elif said is None:
            found.append(f"{path}.{name}: not settable")
        elif said != notation(attribute.type) + ("!" if attribute.required else ""):
            found.append(f"{path}.{name}: {said} there, {notation(attribute.type)} here")
    for name, block in ours.blocks.items():
        inner = theirs["blocks"].get(name)
        if inner is None:
            found.append(f"{path}.{name}: no such block")
            continue
        if inner["required"] != (block.min_items > 0):
            found.append(f"{path}.{name}: required there is {inner['required']}")
        if inner["many"] != (block.max_items != 1):
            found.append(f"{path}.{name}: many there is {inner['many']}")
        found += differences(f"{path}.{name}", block, inner)
    return found


@pytest.mark.parametrize(("table", "name"), TYPES)
def test_a_type_is_a_subset_of_hashicorps(table: str, name: str) -> None:
    assert differences(name, TABLES[table][name], AWS[table][name]) == []


def test_the_comparison_notices_an_attribute_hashicorp_lacks() -> None:
    lacking = {**AWS["resources"]["aws_vpc"], "attributes": {}}
    assert "aws_vpc.cidr_block: not settable" in differences("aws_vpc", RESOURCES["aws_vpc"].schema, lacking)


@pytest.mark.parametrize("name", sorted(RESOURCES))
def test_a_resource_that_can_change_in_place_says_how(name: str) -> None:
    kind = RESOURCES[name]
    in_place = [
        attribute
        for attribute, a in kind.schema.attributes.items()
        if (a.required or a.optional) and not a.forces_new
    ]
    assert kind.update is not None or set(in_place) <= {"tags", "force_destroy"}
