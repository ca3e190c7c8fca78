"""Why a schema is not structural: a CustomResourceDefinition with it is refused.

Source: k8s.io/apiextensions-apiserver/pkg/apiserver/schema/validation.go and pkg/apis/apiextensions/validation.
"""

from __future__ import annotations

import re
from typing import Any

from slipway_sandbox.kubernetes import custom_validation, names
from slipway_sandbox.kubernetes.definitions import Schema
from slipway_sandbox.kubernetes.errors import Cause

_PRESERVE = "x-kubernetes-preserve-unknown-fields"
_INT_OR_STRING = "x-kubernetes-int-or-string"
_LIST_TYPE, _LIST_KEYS = "x-kubernetes-list-type", "x-kubernetes-list-map-keys"
_TYPES = ("array", "boolean", "integer", "number", "object", "string")
_NO_TYPE = {
    "root": "must not be empty at the root",
    "item": "must not be empty for specified array items",
    "field": "must not be empty for specified object fields",
}


def structural(schema: Schema, path: str) -> list[Cause]:
    """Everything wrong with a version's schema; `path` is the field it stands in."""
    causes: list[Cause] = []
    if schema.get("nullable"):
        causes.append(names.forbidden(f"{path}.nullable", "nullable cannot be true at the root"))
    causes += _forbidden(schema, path)
    if causes:
        return causes
    found = _typed(schema, path, "root")
    found.sort(key=lambda cause: f"{cause.field}: {cause.message}")
    return found or _defaults(schema, path)


def _children(schema: Schema, path: str) -> list[tuple[Schema, str, str]]:
    """The schemas below one, their paths, and what they are: a field or an item."""
    found = [
        (below, f"{path}.properties[{key}]", "field")
        for key, below in (schema.get("properties") or {}).items()
        if isinstance(below, dict)
    ]
    if isinstance(items := schema.get("items"), dict):
        found.append((items, f"{path}.items", "item"))
    if isinstance(rest := schema.get("additionalProperties"), dict):
        found.append((rest, f"{path}.additionalProperties", "field"))
    return found


def _forbidden(schema: Schema, path: str) -> list[Cause]:
    """Keywords with wrong values: they are looked at before the schema's structure is."""
    causes: list[Cause] = []
    if schema.get("uniqueItems"):
        why = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic"
        causes.append(names.forbidden(f"{path}.uniqueItems", why))
    if schema.get("$ref"):
        causes.append(names.forbidden(f"{path}.$ref", "$ref is not supported"))
    if (kind := schema.get("type")) and kind not in _TYPES:
        causes.append(names.unsupported(f"{path}.type", kind, _TYPES))
    if schema.get(_PRESERVE) is False:
        causes.append(names.bad(f"{path}.{_PRESERVE}", False, "must be true or undefined"))
    if isinstance(rest := schema.get("additionalProperties"), dict) and rest and schema.get("properties"):
        why = "additionalProperties and properties are mutual exclusive"
        causes.append(names.forbidden(f"{path}.additionalProperties", why))
    if (pattern := schema.get("pattern")) and not _compiles(pattern):
        causes.append(
            names.bad(
                f"{path}.pattern",
                pattern,
                "must be a valid regular expression, but isn't: error parsing regexp",
            )
        )
    causes += _list_rules(schema, path)
    for below, where, _ in _children(schema, path):
        causes += _forbidden(below, where)
    return causes


def _compiles(pattern: str) -> bool:
    try:
        re.compile(pattern)
    except re.error:
        return False
    return True


def _list_rules(schema: Schema, path: str) -> list[Cause]:
    kind, keys = schema.get(_LIST_TYPE), schema.get(_LIST_KEYS) or []
    found = schema.get("items")
    items: Schema = found if isinstance(found, dict) else {}
    causes: list[Cause] = []
    if kind is not None and kind not in ("atomic", "map", "set"):
        causes.append(names.unsupported(f"{path}.{_LIST_TYPE}", kind, ("atomic", "map", "set")))
    if kind == "map":
        if not keys:
            why = "must not be empty if x-kubernetes-list-type is map"
            causes.append(names.required(f"{path}.{_LIST_KEYS}", why))
        if items and items.get("type") != "object":
            why = "must be object if parent array's x-kubernetes-list-type is map"
            causes.append(names.bad(f"{path}.items.type", items.get("type", ""), why))
    elif keys:
        why = "must be map if x-kubernetes-list-map-keys is non-empty"
        causes.append(names.bad(f"{path}.{_LIST_TYPE}", kind, why))
    for key in keys if items else ():
        below = (items.get("properties") or {}).get(key)
        where = f"{path}.items.properties[{key}]"
        if below is None:
            continue
        if "default" not in below and key not in (items.get("required") or ()):
            why = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property"
            causes.append(names.required(f"{where}.default", why))
    return causes


def _typed(schema: Schema, path: str, level: str) -> list[Cause]:
    causes: list[Cause] = []
    if not schema.get("type") and not schema.get(_PRESERVE) and not schema.get(_INT_OR_STRING):
        causes.append(names.required(f"{path}.type", _NO_TYPE[level]))
    elif level == "root" and schema.get("type", "object") != "object":
        causes.append(names.bad(f"{path}.type", schema["type"], "must be object at the root"))
    if schema.get("type") == "array" and not isinstance(schema.get("items"), dict):
        causes.append(names.required(f"{path}.items", "must be specified"))
    for below, where, kind in _children(schema, path):
        if level == "root" and where.endswith(".properties[metadata]"):
            causes += _metadata(below, where)
        else:
            causes += _typed(below, where, kind)
    return causes + _combined(schema, path)


def _metadata(schema: Schema, path: str) -> list[Cause]:
    if (kind := schema.get("type")) != "object":
        return [names.bad(f"{path}.type", kind or "", "must be object")]
    if set(schema.get("properties") or {}) - {"name", "generateName"}:
        why = (
            "must not specify anything other than name and generateName, but metadata is implicitly specified"
        )
        return [names.forbidden(path, why)]
    return []


def _combined(schema: Schema, path: str) -> list[Cause]:
    """Below allOf, anyOf, oneOf and not: values are bounded there, the structure is said outside."""
    if schema.get(_INT_OR_STRING):
        return []
    options = [
        (option, f"{path}.{keyword}[{index}]")
        for keyword in ("allOf", "anyOf", "oneOf")
        for index, option in enumerate(schema.get(keyword) or ())
    ]
    if isinstance(schema.get("not"), dict):
        options.append((schema["not"], f"{path}.not"))
    causes: list[Cause] = []
    for option, where in options:
        causes += _bounds_only(option, schema, where, path)
    return causes


def _bounds_only(option: Schema, schema: Any, where: str, path: str) -> list[Cause]:
    causes = [
        names.forbidden(f"{where}.{keyword}", "must be empty to be structural")
        for keyword in ("type", "default", "additionalProperties")
        if option.get(keyword)
    ]
    for key, below in (option.get("properties") or {}).items():
        there = (schema.get("properties") or {}).get(key)
        if there is None:
            why = f"because it is defined in {where}.properties[{key}]"
            causes.append(names.required(f"{path}.properties[{key}]", why))
        causes += _bounds_only(below, there or {}, f"{where}.properties[{key}]", f"{path}.properties[{key}]")
    return causes


def _defaults(schema: Schema, path: str) -> list[Cause]:
    """A default must be a value that the schema itself lets in."""
    causes: list[Cause] = []
    if "default" in schema:
        for wrong in custom_validation.validate(schema["default"], schema):
            message = wrong.message.replace(f"{wrong.field} in body", " in body", 1)
            below = f".{wrong.field}" if wrong.field else ""
            causes.append(Cause(f"{path}.default{below}", message, wrong.reason))
    for child, where, _ in _children(schema, path):
        causes += _defaults(child, where)
    return causes
