"""Whether an apply's intent has the shape of its kind, in the words of structured-merge-diff's `typed` package.

Source: sigs.k8s.io/structured-merge-diff/v6/typed. It looks at shapes alone; values are the decoder's and the validation's.
"""

from __future__ import annotations

import json
from typing import Any

from slipway_sandbox.kubernetes import managed
from slipway_sandbox.kubernetes.definitions import Schema, definitions, reference

_FREE = ("JSON", "JSONSchemaProps", "FieldsV1", "RawExtension", "IntOrString", "Quantity")
_GO_NAMES = {bool: "bool", int: "int64", float: "float64", str: "string", list: "[]interface {}"}


def problems(intent: dict[str, Any], schema: Schema) -> str:
    """Everything that does not fit, as one text; empty where all does."""
    found: list[str] = []
    _walk({k: v for k, v in intent.items() if k not in ("apiVersion", "kind")}, schema, "", found)
    return (
        found[0]
        if len(found) == 1
        else "errors:\n" + "\n".join(f"  {line}" for line in found)
        if found
        else ""
    )


def _walk(value: Any, declared: Schema, path: str, found: list[str]) -> None:
    if value is None or reference(declared).rsplit(".", 1)[-1] in _FREE:
        return
    schema = definitions().resolve(declared)
    kinds = schema.get("type")
    kind = next((k for k in kinds if k != "null"), None) if isinstance(kinds, list) else kinds
    if kind == "object" or "properties" in schema:
        _map(value, schema, path, found)
    elif kind == "array":
        _list(value, declared, path, found)
    elif kind and (why := _scalar(value, kind)):
        found.append(f"{path}: {why}")


def _scalar(value: Any, kind: str) -> str:
    if kind in ("integer", "number"):
        fits = isinstance(value, (int, float)) and not isinstance(value, bool)
        got = "map[string]interface {}" if isinstance(value, dict) else _GO_NAMES[type(value)]
        return "" if fits else f"expected numeric (int or float), got {got}"
    if kind == "string":
        return "" if isinstance(value, str) else f"expected string, got {_unstructured(value, '%#v')}"
    if kind == "boolean":
        return "" if isinstance(value, bool) else f"expected boolean, got {_unstructured(value, '%v')}"
    return ""


def _unstructured(value: Any, form: str) -> str:
    """Go's rendering of the value's wrapper."""
    shown = go(value)
    return f"&value.valueUnstructured{{Value:{shown}}}" if form == "%#v" else f"&{{{shown}}}"


def go(value: Any) -> str:
    """As Go prints a value of a decoded document: `map[a:[1 2]]`."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "[" + " ".join(go(item) for item in value) + "]"
    if isinstance(value, dict):
        return "map[" + " ".join(f"{key}:{go(item)}" for key, item in sorted(value.items())) + "]"
    return str(value)


def _map(value: Any, schema: Schema, path: str, found: list[str]) -> None:
    if not isinstance(value, dict):
        found.append(f"{path}: expected map, got {_unstructured(value, '%v')}")
        return
    properties, rest = schema.get("properties"), schema.get("additionalProperties")
    free = (properties is None and not isinstance(rest, dict)) or schema.get(
        "x-kubernetes-preserve-unknown-fields"
    )
    for key, item in value.items():
        below = (properties or {}).get(key, rest)
        if isinstance(below, dict):
            _walk(item, below, f"{path}.{key}", found)
        elif not free:
            found.append(f"{path}.{key}: field not declared in schema")


def _list(value: Any, declared: Schema, path: str, found: list[str]) -> None:
    if not isinstance(value, list):
        found.append(f"{path}: expected list, got {_unstructured(value, '%v')}")
        return
    items, kind = definitions().items(declared), managed.list_type(declared)
    seen: set[str] = set()
    for index, item in enumerate(value):
        step = f"[{index}]"
        if kind == "map" and isinstance(item, dict):
            if why := _unkeyed(item, declared, items):
                found.append(f"{path}: element {index}: {why}")
                return
            step = managed.describe((managed.item_key(item, declared),))
        elif kind == "set":
            step = f"[={json.dumps(item)}]"
        if step in seen:
            found.append(f"{path}: duplicate entries for key {step}")
        seen.add(step)
        _walk(item, items, path + step, found)


def _unkeyed(item: dict[str, Any], declared: Schema, items: Schema) -> str:
    """Built-in kinds have a default for every key, if need be Go's zero value; a custom resource may have none."""
    keys = declared.get("x-kubernetes-list-map-keys", ())
    if any(key in item or managed.key_default(key, items) is not None for key in keys):
        return ""
    what = "associative list with keys has an element that omits all key fields"
    listed = " ".join(json.dumps(key) for key in keys)
    return f"{what} [{listed}] (and doesn't have default values for any key fields)"
