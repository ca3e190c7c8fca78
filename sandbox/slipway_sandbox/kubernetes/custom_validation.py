"""Validation of custom objects by their structural schema.

Source: k8s.io/apiextensions-apiserver and k8s.io/kube-openapi/pkg/validation. CEL rules
(x-kubernetes-validations) are in cel_rules.py.
"""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Callable
from typing import Any

from slipway_sandbox.kubernetes import names
from slipway_sandbox.kubernetes.definitions import Schema
from slipway_sandbox.kubernetes.errors import Cause
from slipway_sandbox.kubernetes.store import Object

_INT_OR_STRING = "x-kubernetes-int-or-string"


def validate(object_: Object, schema: Schema) -> list[Cause]:
    """Everything about a custom object that its schema forbids."""
    causes: list[Cause] = []
    _validate(object_, schema, "", causes)
    return causes


def _validate(value: Any, schema: Schema, path: str, causes: list[Cause]) -> None:
    if "$ref" in schema:
        return
    if value is None:
        if not schema.get("nullable") and schema.get("type"):
            causes.append(_wrong_type(path, value, schema["type"]))
        return
    expected = schema.get("type")
    if schema.get(_INT_OR_STRING):
        expected = None
        if isinstance(value, bool) or not isinstance(value, (int, str)):
            causes.append(_wrong_type(path, value, "integer,string"))
            return
    if expected and not _TYPES[expected](value):
        causes.append(_wrong_type(path, value, expected))
        return
    if "enum" in schema and value not in schema["enum"]:
        allowed = ", ".join(json.dumps(option) for option in schema["enum"])
        why = f"Unsupported value: {json.dumps(value)}: supported values: {allowed}"
        causes.append(Cause(path, why, "FieldValueNotSupported"))
    causes.extend(_limits(value, schema, path))
    if (options := schema.get("anyOf")) and not any(_fits(value, option, path) for option in options):
        causes.append(Cause(path, f"Invalid value: {value!r}: must validate at least one schema (anyOf)"))
    if isinstance(value, dict):
        _validate_object(value, schema, path, causes)
    elif isinstance(value, list) and isinstance(schema.get("items"), dict):
        for index, item in enumerate(value):
            _validate(item, schema["items"], f"{path}[{index}]", causes)
        causes.extend(_twice(value, schema, path))


def _validate_object(value: Object, schema: Schema, path: str, causes: list[Cause]) -> None:
    prefix = f"{path}." if path else ""
    causes.extend(
        Cause(prefix + key, "Required value", "FieldValueRequired")
        for key in schema.get("required") or ()
        if key not in value
    )
    properties, rest = schema.get("properties") or {}, schema.get("additionalProperties")
    for key, item in value.items():
        below = properties.get(key, rest)
        if isinstance(below, dict):
            _validate(item, below, prefix + key, causes)


def _fits(value: Any, option: Schema, path: str) -> bool:
    problems: list[Cause] = []
    _validate(value, option, path, problems)
    return not problems


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


_TYPES: dict[str, Callable[[Any], bool]] = {
    "object": lambda v: isinstance(v, dict),
    "array": lambda v: isinstance(v, list),
    "string": lambda v: isinstance(v, str),
    "boolean": lambda v: isinstance(v, bool),
    "integer": lambda v: _is_number(v) and float(v).is_integer(),
    "number": _is_number,
}


def _limits(value: Any, schema: Schema, path: str) -> list[Cause]:
    """Sizes, ranges, patterns and dates: the OpenAPI keywords the definitions here carry."""
    found: list[Cause] = []

    def check(keyword: str, holds: Callable[[Any], bool], wording: str) -> None:
        if keyword in schema and not holds(schema[keyword]):
            why = wording.format(schema[keyword])
            found.append(Cause(path, f"Invalid value: {json.dumps(value)}: {path} in body {why}"))

    def most(keyword: str, size: int, reason: str, wording: str) -> None:
        if keyword in schema and size > schema[keyword]:
            plural = "" if schema[keyword] == 1 else "s"
            found.append(Cause(path, wording.format(schema[keyword], size, plural), reason))

    if _is_number(value):
        check("minimum", lambda m: value >= m, "should be greater than or equal to {}")
        check("maximum", lambda m: value <= m, "should be less than or equal to {}")
    elif isinstance(value, str):
        check("minLength", lambda m: len(value) >= m, "should be at least {} chars long")
        most("maxLength", len(value), "FieldValueTooLong", "Too long: may not be more than {} bytes")
        check("pattern", lambda p: re.search(p, value) is not None, "should match '{}'")
        if (form := schema.get("format")) in _FORMATS and not _reads(_FORMATS[form], value):
            why = f"{path} in body must be of type {form}: {json.dumps(value)}"
            found.append(Cause(path, f"Invalid value: {json.dumps(value)}: {why}", "FieldValueTypeInvalid"))
    elif isinstance(value, list):
        check("minItems", lambda m: len(value) >= m, "should have at least {} items")
        most("maxItems", len(value), "FieldValueTooMany", "Too many: {1}: must have at most {0} item{2}")
    elif isinstance(value, dict):
        most("maxProperties", len(value), "FieldValueTooMany", "Too many: {1}: must have at most {0} item{2}")
    return found


_FORMATS: dict[str, Callable[[str], Any]] = {
    "date-time": lambda text: dt.datetime.fromisoformat(text.upper().replace("Z", "+00:00")).tzinfo.utcoffset,  # type: ignore[union-attr]
}


def _reads(read: Callable[[str], Any], text: str) -> bool:
    try:
        read(text)
    except (ValueError, AttributeError):
        return False
    return True


def _twice(value: list[Any], schema: Schema, path: str) -> list[Cause]:
    """Items of a set or of a keyed list that come again."""
    kind, keys = schema.get("x-kubernetes-list-type"), schema.get("x-kubernetes-list-map-keys") or ()
    if kind not in ("set", "map"):
        return []
    seen: list[Any] = []
    causes = []
    for index, item in enumerate(value):
        what = {key: item.get(key) for key in keys} if kind == "map" and isinstance(item, dict) else item
        if what in seen:
            causes.append(
                Cause(f"{path}[{index}]", f"Duplicate value: {names.shown(what)}", "FieldValueDuplicate")
            )
        seen.append(what)
    return causes


def _wrong_type(path: str, value: Any, expected: str) -> Cause:
    kinds = {dict: "object", list: "array", str: "string", bool: "boolean", int: "integer", float: "number"}
    given = kinds.get(type(value), "null")
    why = f'Invalid value: "{given}": {path} in body must be of type {expected}: "{given}"'
    return Cause(path, why, "FieldValueTypeInvalid")
