"""Typed decoding of built-in objects: what Go's decoder does with a body before anything else sees it.

Unknown fields are dropped (and reported), nulls vanish, wrong types are refused, times and quantities take their
one canonical form.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import re
import sys
from dataclasses import dataclass, field
from typing import Any

from slipway_sandbox.kubernetes import errors, quantities
from slipway_sandbox.kubernetes.definitions import Schema, definitions, reference
from slipway_sandbox.kubernetes.errors import Cause
from slipway_sandbox.kubernetes.resources import Resource

_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)")
# Required by the schema because Go always writes them, but empty is fine when they are left out.
_EMPTY_IS_FINE = frozenset(
    {
        "serviceName",
        "endpoints",
        "drivers",
        "rules",
        "addresses",
        "metadata",
        "involvedObject",
        "spec",
        "status",
    }
)


@dataclass
class Decoded:
    """A body after typed decoding. `unknown` are dotted paths of dropped fields; `missing` are Required-value causes.

    `whole` is False for an apply's intent: what it does not name is neither supplied nor missed.
    """

    whole: bool = True
    value: Any = None
    unknown: list[str] = field(default_factory=list)
    missing: list[Cause] = field(default_factory=list)


class WrongType(Exception):
    """A value cannot be decoded into its field's Go type."""


def decode(resource: Resource, body: dict[str, Any], *, whole: bool = True) -> Decoded:
    """Decode the body of a built-in kind. Raises Undecodable for a value of a wrong type."""
    decoded = Decoded(whole)
    try:
        spec = whole and "spec" in definitions().resolve(resource.schema).get("properties", {})
        decoded.value = _decode({"spec": {}} | body if spec else body, resource.schema, "", decoded)
    except WrongType as wrong:
        raise errors.Undecodable(resource, str(wrong)) from None
    return decoded


def empty_status(resource: Resource) -> dict[str, Any]:
    """A new object's status: Go writes the struct, with zeros for the fields it never leaves out."""
    status = definitions().resolve(definitions().field(resource.schema, "status"))
    return {key: _zero(status["properties"][key]) for key in status.get("required", ())}


def decode_metadata(resource: Resource, body: dict[str, Any]) -> Decoded:
    """Decode only the metadata, for custom resources. Raises Undecodable."""
    decoded = Decoded()
    schema = {"$ref": "#/$defs/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"}
    try:
        decoded.value = _decode(body.get("metadata") or {}, schema, "metadata", decoded)
    except WrongType as wrong:
        raise errors.Undecodable(resource, str(wrong)) from None
    return decoded


def _decode(value: Any, schema: Schema, path: str, out: Decoded) -> Any:
    special = _SPECIAL.get(reference(schema).rsplit(".", 1)[-1])
    if special is not None:
        return special(value, path)
    schema = definitions().resolve(schema)
    kind = _type_of(schema)
    if kind == "object" or "properties" in schema:
        if not isinstance(value, dict):
            raise _mismatch(value, path, "object")
        return _decode_object(value, schema, path, out)
    if kind == "array":
        if not isinstance(value, list):
            raise _mismatch(value, path, "array")
        items = schema.get("items", {})
        return [_decode(item, items, f"{path}[{i}]", out) for i, item in enumerate(value) if item is not None]
    if kind is not None:
        return _decode_scalar(value, kind, schema.get("format"), path)
    return value


def _decode_object(value: dict[str, Any], schema: Schema, path: str, out: Decoded) -> Any:
    properties, rest = schema.get("properties"), schema.get("additionalProperties")
    if properties is None:
        if not isinstance(rest, dict):
            return value  # free form: FieldsV1, RawExtension, JSON
        # A null in a map is the zero value of its type, not an absent key.
        return {
            k: _decode(_zero(rest) if v is None else v, rest, f"{path}[{k}]", out) for k, v in value.items()
        }
    found: dict[str, Any] = {}
    required = schema.get("required", ())
    for key, item in value.items():
        if key not in properties:
            out.unknown.append(_join(path, key))
        elif item is not None:
            decoded = _decode(item, properties[key], _join(path, key), out)
            if decoded or not (out.whole and _omitted(properties[key]) and key not in required):
                found[sys.intern(key)] = decoded
    for key in required if out.whole else ():
        if key not in found:
            _supply(found, key, properties[key], _join(path, key), out)
    return found


def _omitted(schema: Schema) -> bool:
    """Lists and maps that Go leaves out where they are empty (`omitempty`); an empty struct stays."""
    return schema.get("type") == "array" or ("additionalProperties" in schema and "properties" not in schema)


def _supply(found: dict[str, Any], key: str, schema: Schema, path: str, out: Decoded) -> None:
    """A field Go always writes was left out: its zero value, or a Required-value cause where that is refused."""
    kind = _type_of(definitions().resolve(schema))
    in_status = path == "status" or path.startswith("status.")
    if in_status or kind == "object" or key in _EMPTY_IS_FINE:
        if reference(schema).endswith(".LabelSelector"):
            return  # a pointer: not there is not the same as empty
        if kind == "object" and not in_status:
            found[key] = _decode({}, schema, path, out)
        elif reference(schema).rsplit(".", 1)[-1] not in ("Time", "MicroTime"):
            found[key] = _zero(schema)
    else:  # validation goes on with Go's zero value, and names the field among all that is wrong
        found[key] = _zero(schema)
        out.missing.append(Cause(path, "Required value", "FieldValueRequired"))


def _zero(schema: Schema) -> Any:
    kind = _type_of(definitions().resolve(schema))
    return {"string": "", "integer": 0, "number": 0, "boolean": False, "array": [], "object": {}}.get(
        kind or "", ""
    )


def _type_of(schema: Schema) -> str | None:
    kinds = schema.get("type")
    if isinstance(kinds, list):
        return next((str(kind) for kind in kinds if kind != "null"), None)
    return kinds


def _decode_scalar(value: Any, kind: str, form: str | None, path: str) -> Any:
    if kind == "integer":
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool):
            raise _mismatch(value, path, form or "int32")
        bits = 63 if form == "int64" else 31
        if not -(2**bits) <= value < 2**bits:
            raise _mismatch(value, path, form or "int32")
        return value
    if kind == "number":
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise _mismatch(value, path, "float64")
        return value
    if kind == "boolean":
        if not isinstance(value, bool):
            raise _mismatch(value, path, "bool")
        return value
    if not isinstance(value, str):
        raise _mismatch(value, path, "string")
    if form == "byte":
        try:
            base64.b64decode(value, validate=True)
        except binascii.Error:
            raise WrongType(f"illegal base64 data at input byte 0 ({path})") from None
    return value


def _time(value: Any, path: str) -> str:
    return _parse_time(value, path).strftime("%Y-%m-%dT%H:%M:%SZ")


def _micro_time(value: Any, path: str) -> str:
    if isinstance(value, str) and _RFC3339.fullmatch(value) and "." not in value:
        rest = value[19:]
        raise WrongType(
            f'parsing time "{value}" as "2006-01-02T15:04:05.000000Z07:00": cannot parse "{rest}" as ".000000"'
        )
    return _parse_time(value, path).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _parse_time(value: Any, path: str) -> dt.datetime:
    if not isinstance(value, str) or not _RFC3339.fullmatch(value):
        raise WrongType(f'parsing time "{value}" as "2006-01-02T15:04:05Z07:00": cannot parse ({path})')
    text = re.sub(r"\.(\d{1,6})\d*", lambda m: "." + m[1].ljust(6, "0"), value.upper())
    return dt.datetime.fromisoformat(text.replace("Z", "+00:00")).astimezone(dt.UTC)


def _quantity(value: Any, _path: str) -> str:
    try:
        return quantities.canonical(str(value))
    except ValueError as wrong:
        raise WrongType(str(wrong)) from None


def _int_or_string(value: Any, path: str) -> Any:
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise _mismatch(value, path, "int32")
    return value


def _anything(value: Any, _path: str) -> Any:
    return value


_SPECIAL = {
    "Time": _time,
    "MicroTime": _micro_time,
    "Quantity": _quantity,
    "IntOrString": _int_or_string,
    "JSONSchemaProps": _anything,  # recursive, and custom.py reads it as it is
    "JSON": _anything,
    "FieldsV1": _anything,
    "RawExtension": _anything,
}


def _mismatch(value: Any, path: str, wanted: str) -> WrongType:
    names = {bool: "bool", str: "string", int: "number", float: "number", list: "array", dict: "object"}
    return WrongType(f"json: cannot unmarshal {names[type(value)]} into field {path} of type {wanted}")


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key
