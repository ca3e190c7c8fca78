from __future__ import annotations

import datetime
from typing import Any

import pytest

from slipway_sandbox.terraform.durations import seconds
from slipway_sandbox.terraform.provider.planning import applied, plan, refreshed
from slipway_sandbox.terraform.provider.schema import (
    BOOL,
    NUMBER,
    STRING,
    STRINGS,
    Attribute,
    Block,
    computed,
    only,
    optional,
    required,
)
from slipway_sandbox.terraform.provider.values import UNKNOWN, coerce, pack, same_document, unpack
from slipway_sandbox.terraform.provider.wire import message

SCHEMA = Block(
    {
        "name": required(STRING, forces_new=True),
        "size": optional(NUMBER, default=1),
        "zones": optional(STRINGS),
        "note": optional(STRING),
        "policy": optional(STRING, document=True),
        "arn": computed(STRING),
        "version": computed(NUMBER, varies=True),
    },
    {
        "disk": only({"kind": required(STRING, forces_new=True), "encrypted": optional(BOOL)}),
        "access": only({"mode": optional(STRING, computed=True)}, computed=True),
    },
)
CONFIG: dict[str, Any] = {
    "name": "a", "size": None, "zones": ["x", "y"], "note": None, "policy": None, "arn": None, "version": None,
    "disk": [{"kind": "gp3", "encrypted": True}], "access": [],
}  # fmt: skip
STATE: dict[str, Any] = CONFIG | {"size": 1, "arn": "arn:1", "version": 4, "access": [{"mode": "API"}]}


def proposed(**changes: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """(Terraform's proposal for a changed configuration of an existing resource, that configuration)"""
    kept = {"arn": STATE["arn"], "version": STATE["version"]}
    return CONFIG | kept | changes, CONFIG | changes


def test_create_leaves_open_what_only_the_api_knows() -> None:
    planned, _ = plan(SCHEMA, None, dict(CONFIG), CONFIG)
    assert (planned["arn"], planned["version"], planned["access"]) == (UNKNOWN, UNKNOWN, UNKNOWN)


def test_create_fills_in_defaults() -> None:
    assert plan(SCHEMA, None, dict(CONFIG), CONFIG)[0]["size"] == 1


def test_no_change_is_no_change() -> None:
    assert plan(SCHEMA, STATE, *proposed()) == (STATE, [])


def test_the_order_of_a_set_is_no_change() -> None:
    assert plan(SCHEMA, STATE, *proposed(zones=["y", "x"])) == (STATE, [])


def test_the_spelling_of_a_document_is_no_change() -> None:
    prior = STATE | {"policy": '{"Action": ["s3:*"], "Effect": "Allow"}'}
    assert plan(SCHEMA, prior, *proposed(policy='{"Effect":"Allow","Action":"s3:*"}')) == (prior, [])


def test_another_document_is_a_change() -> None:
    prior = STATE | {"policy": '{"Action": "s3:GetObject"}'}
    planned, _ = plan(SCHEMA, prior, *proposed(policy='{"Action": "s3:*"}'))
    assert planned["policy"] == '{"Action": "s3:*"}'


def test_a_change_in_place_opens_only_what_varies() -> None:
    planned, replaced = plan(SCHEMA, STATE, *proposed(note="new"))
    assert (planned["arn"], planned["version"], replaced) == ("arn:1", UNKNOWN, [])


def test_a_new_name_replaces() -> None:
    assert plan(SCHEMA, STATE, *proposed(name="b"))[1] == [("name",)]


def test_a_change_inside_a_block_replaces_by_its_path() -> None:
    assert plan(SCHEMA, STATE, *proposed(disk=[{"kind": "io2", "encrypted": True}]))[1] == [
        ("disk", 0, "kind")
    ]


def test_a_removed_default_goes_back_to_the_default() -> None:
    prior = STATE | {"size": 7}
    assert plan(SCHEMA, prior, *proposed())[0]["size"] == 1


def test_apply_keeps_what_the_plan_promised() -> None:
    planned = STATE | {"arn": UNKNOWN, "note": "mine"}
    state = applied(SCHEMA, planned, STATE | {"arn": "arn:2", "note": "theirs"})
    assert (state["arn"], state["note"]) == ("arn:2", "mine")


def test_apply_leaves_nothing_unknown() -> None:
    assert applied(SCHEMA, STATE | {"arn": UNKNOWN}, {})["arn"] is None


def test_refresh_takes_the_apis_word() -> None:
    assert refreshed(SCHEMA, STATE, {"size": 9})["size"] == 9


def test_refresh_keeps_null_where_the_api_shows_emptiness() -> None:
    assert refreshed(SCHEMA, STATE, {"note": ""})["note"] is None


def test_unknown_survives_the_wire() -> None:
    assert unpack(pack({"a": [UNKNOWN], "b": None})) == {"a": [UNKNOWN], "b": None}


def test_what_terraform_cannot_hold_is_refused() -> None:
    with pytest.raises(TypeError, match="datetime"):
        pack({"at": datetime.datetime.now(datetime.UTC)})


def test_an_index_of_zero_is_sent() -> None:
    step = message("AttributePath.Step")
    assert step.FromString(step(element_key_int=0).SerializeToString()).HasField("element_key_int")


@pytest.mark.parametrize(
    ("kind", "given", "expected"),
    [
        ("number", "3", 3),
        ("number", 2.5, 2.5),
        ("bool", "true", True),
        ("string", True, "true"),
        ("string", 1, "1"),
    ],
)
def test_values_take_the_shape_of_their_type(kind: str, given: Any, expected: Any) -> None:
    assert coerce(kind, given) == expected


def test_texts_that_are_no_json_are_compared_as_they_are() -> None:
    assert (same_document("a", "a"), same_document("a", "b"), same_document(None, "a")) == (
        True,
        False,
        False,
    )


@pytest.mark.parametrize(
    ("text", "expected"), [("40m", 2400.0), ("1h30m", 5400.0), ("5m0s", 300.0), ("250ms", 0.25)]
)
def test_go_durations_are_read(text: str, expected: float) -> None:
    assert seconds(text) == expected


@pytest.mark.parametrize("text", ["", "40", "forty m", "5m!"])
def test_other_texts_are_no_durations(text: str) -> None:
    with pytest.raises(ValueError, match="no duration"):
        seconds(text)


@pytest.mark.parametrize(
    ("changes", "version"),
    [({"note": "new"}, 4), ({"size": 2}, UNKNOWN), ({"note": "new", "size": 2}, UNKNOWN)],
)
def test_some_changes_alone_leave_a_computed_value_as_it_is(changes: dict[str, Any], version: Any) -> None:
    steady = Attribute(NUMBER, computed=True, varies=True, unmoved_by=frozenset({"note"}))
    schema = Block({**SCHEMA.attributes, "version": steady}, SCHEMA.blocks)
    new, config = proposed(**changes)
    assert plan(schema, dict(STATE), new, config)[0]["version"] == version
