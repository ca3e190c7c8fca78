"""Terraform's values in Python: dicts and lists, with `UNKNOWN` for what is known only after apply."""

from __future__ import annotations

import json
from typing import Any

import msgpack

from slipway_sandbox.terraform.provider import wire
from slipway_sandbox.terraform.provider.schema import Block, CtyType, State


class Unknown:
    """The value that only apply will know."""

    def __repr__(self) -> str:
        return "UNKNOWN"

    def __bool__(self) -> bool:
        return False


UNKNOWN = Unknown()


def unpack(value: Any) -> Any:
    """A DynamicValue of the wire as Python values. An absent value is None."""
    if value.json:
        return json.loads(value.json)
    if not value.msgpack:
        return None
    # extension 0 is "unknown", 12 "unknown, refined": nothing here needs the refinement
    return msgpack.unpackb(value.msgpack, ext_hook=lambda _code, _data: UNKNOWN, strict_map_key=False)


def _extension(value: Any) -> Any:
    if value is UNKNOWN:
        return msgpack.ExtType(0, b"\0")
    raise TypeError(f"{type(value).__name__} has no place in a Terraform value: {value!r}")


def pack(value: Any) -> Any:
    """Python values as a DynamicValue. Raises TypeError for what Terraform cannot hold, a datetime for example."""
    return wire.message("DynamicValue")(msgpack=msgpack.packb(value, default=_extension))


def coerce(kind: CtyType, value: Any) -> Any:
    """The value in the shape of its type; a number the API gives as text becomes one."""
    if value is None or value is UNKNOWN:
        return value
    if kind == "string":
        return value if isinstance(value, str) else json.dumps(value)
    if kind == "number":
        number = float(value)
        return int(number) if number == int(number) else number
    if kind == "bool":
        return value.lower() == "true" if isinstance(value, str) else bool(value)
    assert isinstance(kind, list)  # every scalar was met above
    container, element = kind
    if container in ("list", "set"):
        return [coerce(element, item) for item in value]
    if container == "map":
        return {str(key): coerce(element, item) for key, item in value.items()}
    return {name: coerce(member, value.get(name)) for name, member in element.items()}


def complete(block: Block, value: Any) -> Any:
    """The value with every attribute and block of the schema present: Terraform refuses objects with holes."""
    if value is None or value is UNKNOWN:
        return value
    full: State = {name: coerce(a.type, value.get(name)) for name, a in block.attributes.items()}
    for name, nested in block.blocks.items():
        inner = value.get(name)
        full[name] = inner if inner is UNKNOWN else [complete(nested, item) for item in inner or []]
    return full


def canonical(block: Block, value: Any) -> Any:
    """The value with its sets in one fixed order, to compare two of them."""
    if value is None or value is UNKNOWN:
        return value
    out: State = {
        name: canonical_value(a.type, value.get(name)) for name, a in sorted(block.attributes.items())
    }
    for name, nested in sorted(block.blocks.items()):
        out[name] = canonical_blocks(nested, value.get(name))
    return out


def canonical_blocks(block: Block, value: Any) -> Any:
    if value is UNKNOWN:
        return value
    items = [canonical(block, item) for item in value or []]
    return sorted(items, key=repr) if block.nesting == "set" else items


def canonical_value(kind: CtyType, value: Any) -> Any:
    if isinstance(kind, list) and isinstance(value, list):
        items = [canonical_value(kind[1], item) for item in value]
        return sorted(items, key=repr) if kind[0] == "set" else items
    if isinstance(kind, list) and kind[0] == "map" and isinstance(value, dict):
        return dict(sorted(value.items()))
    return value


def has_unknown(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(has_unknown, value.values()))
    if isinstance(value, list):
        return any(map(has_unknown, value))
    return value is UNKNOWN


def same_document(one: Any, other: Any) -> bool:
    """Whether two JSON texts say the same; texts that are no JSON are compared as they are."""
    if not isinstance(one, str) or not isinstance(other, str):
        return one is other or bool(one == other)
    try:
        return bool(_settled(json.loads(one)) == _settled(json.loads(other)))
    except ValueError:
        return one == other


def _settled(document: Any) -> Any:
    """IAM gives a list of one back as it likes: ["a"] and "a" are the same, and lists of actions have no order."""
    if isinstance(document, dict):
        return {key: _settled(value) for key, value in document.items()}
    if isinstance(document, list):
        items = [_settled(item) for item in document]
        return items[0] if len(items) == 1 else sorted(items, key=repr)
    return document
