"""Custom resources: what a CustomResourceDefinition says is served, pruned and defaulted by its structural schema.

Source: k8s.io/apiextensions-apiserver. Conversion webhooks are not called, and there is no scale subresource.
Validation is in custom_validation.py.
"""

from __future__ import annotations

from typing import Any

from slipway_sandbox.kubernetes.definitions import OBJECT_META, Schema
from slipway_sandbox.kubernetes.resources import ALL_VERBS, Resource
from slipway_sandbox.kubernetes.store import Object, copy_json

_META: Schema = {"$ref": f"#/$defs/{OBJECT_META}"}
_PRESERVE = "x-kubernetes-preserve-unknown-fields"


def served_resources(definition: Object) -> list[Resource]:
    """The resource a CustomResourceDefinition asks to be served: its storage version. Nothing converts others to it."""
    spec = definition["spec"]
    names = spec["names"]
    found = []
    for version in spec["versions"]:
        if not version.get("served") or not version.get("storage"):
            continue
        subresources = version.get("subresources") or {}
        found.append(
            Resource(
                spec["group"],
                version["name"],
                names["plural"],
                names["kind"],
                spec["scope"] == "Namespaced",
                short_names=tuple(names.get("shortNames") or ()),
                subresources=frozenset(subresources) & {"status"},
                schema=_whole_schema(
                    (version.get("schema") or {}).get("openAPIV3Schema") or {_PRESERVE: True}
                ),
                verbs=ALL_VERBS,
                categories=tuple(names.get("categories") or ()),
                singular=names.get("singular") or names["kind"].lower(),
                list_kind=names.get("listKind") or names["kind"] + "List",
                custom=True,
            )
        )
    return found


def _whole_schema(schema: Schema) -> Schema:
    own = {"apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": _META}
    return schema | {"type": "object", "properties": schema.get("properties", {}) | own}


def prune(resource: Resource, body: Object) -> tuple[Object, list[str]]:
    """The body without the fields its schema does not know, and those fields' dotted paths."""
    unknown: list[str] = []
    pruned: Object = _prune(body, resource.schema, "", unknown)
    return pruned, unknown


def _prune(value: Any, schema: Schema, path: str, unknown: list[str]) -> Any:
    if "$ref" in schema:  # metadata, decoded apart
        return value
    if isinstance(value, list):
        items = schema.get("items") or {}
        return [_prune(item, items, f"{path}[{i}]", unknown) for i, item in enumerate(value)]
    if not isinstance(value, dict):
        return value
    properties = schema.get("properties") or {}
    rest = schema.get("additionalProperties")
    kept = {}
    for key, item in value.items():
        below = f"{path}.{key}" if path else key
        if key in properties:
            kept[key] = _prune(item, properties[key], below, unknown)
        elif isinstance(rest, dict):
            kept[key] = _prune(item, rest, below, unknown)
        elif rest or schema.get(_PRESERVE):
            kept[key] = item
        else:
            unknown.append(below)
    return kept


def default(value: Any, schema: Schema) -> Any:
    """The value with the schema's defaults filled in. A null of a field that is not nullable gives way to its default,
    and goes where there is none.
    """
    if isinstance(value, list):
        items = schema.get("items") or {}
        return [default(item, items) for item in value]
    if not isinstance(value, dict) or "$ref" in schema:
        return value
    filled = dict(value)
    for key, field in (schema.get("properties") or {}).items():
        if "default" in field and (key not in filled or (filled[key] is None and not field.get("nullable"))):
            filled[key] = copy_json(field["default"])
        elif key in filled and filled[key] is None and not field.get("nullable") and field.get("type"):
            del filled[key]
    properties, rest = schema.get("properties") or {}, schema.get("additionalProperties")
    for key, item in filled.items():
        below = properties.get(key, rest)
        if isinstance(below, dict):
            filled[key] = default(item, below)
    return filled
