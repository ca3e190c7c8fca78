"""Custom resources: what a CustomResourceDefinition says is served, and its structural schema at work.

Pruning, defaulting and validation follow k8s.io/apiextensions-apiserver. CEL rules (x-kubernetes-validations) and
conversion webhooks are not evaluated.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sandbox.kubernetes.definitions import OBJECT_META, Schema
from sandbox.kubernetes.errors import Cause
from sandbox.kubernetes.resources import ALL_VERBS, Resource
from sandbox.kubernetes.store import Object, copy_json

_META: Schema = {"$ref": f"#/$defs/{OBJECT_META}"}
_PRESERVE = "x-kubernetes-preserve-unknown-fields"
_INT_OR_STRING = "x-kubernetes-int-or-string"
_EMBEDDED = "x-kubernetes-embedded-resource"


@dataclass(frozen=True)
class CustomVersion:
    """What one version of a CustomResourceDefinition adds to a Resource. Paths are dotted, with a leading dot."""

    storage: bool
    columns: tuple[dict[str, Any], ...] = ()
    spec_replicas: str = ""
    status_replicas: str = ""
    label_selector: str = ""
    selectable: frozenset[str] = frozenset()


def served_resources(definition: Object) -> list[Resource]:
    """The resources a CustomResourceDefinition asks to be served, one a version."""
    spec = definition["spec"]
    names = spec["names"]
    found = []
    for version in spec["versions"]:
        if not version.get("served"):
            continue
        subresources = version.get("subresources") or {}
        scale = subresources.get("scale") or {}
        custom = CustomVersion(
            storage=bool(version.get("storage")),
            columns=tuple(version.get("additionalPrinterColumns") or ()),
            spec_replicas=scale.get("specReplicasPath", ""),
            status_replicas=scale.get("statusReplicasPath", ""),
            label_selector=scale.get("labelSelectorPath", ""),
            selectable=frozenset(f["jsonPath"].lstrip(".") for f in version.get("selectableFields") or ()),
        )
        found.append(
            Resource(
                spec["group"],
                version["name"],
                names["plural"],
                names["kind"],
                spec["scope"] == "Namespaced",
                short_names=tuple(names.get("shortNames") or ()),
                subresources=frozenset(subresources),
                schema=_whole_schema(
                    (version.get("schema") or {}).get("openAPIV3Schema") or {_PRESERVE: True}
                ),
                verbs=ALL_VERBS,
                categories=tuple(names.get("categories") or ()),
                singular=names.get("singular") or names["kind"].lower(),
                list_kind=names.get("listKind") or names["kind"] + "List",
                custom=custom,
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
    properties = dict(schema.get("properties") or {})
    if schema.get(_EMBEDDED):
        properties |= {"apiVersion": {}, "kind": {}, "metadata": _META}
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
    """The value with the schema's defaults filled in; nulls that are not nullable and have a default give way to it."""
    if isinstance(value, list):
        items = schema.get("items") or {}
        return [default(item, items) for item in value]
    if not isinstance(value, dict) or "$ref" in schema:
        return value
    filled = dict(value)
    for key, field in (schema.get("properties") or {}).items():
        if "default" in field and (key not in filled or (filled[key] is None and not field.get("nullable"))):
            filled[key] = copy_json(field["default"])
    properties, rest = schema.get("properties") or {}, schema.get("additionalProperties")
    for key, item in filled.items():
        below = properties.get(key, rest)
        if isinstance(below, dict):
            filled[key] = default(item, below)
    return filled


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
            causes.append(
                Cause(
                    path, f'Invalid value: "null": must be of type {schema["type"]}', "FieldValueTypeInvalid"
                )
            )
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
        allowed = ", ".join(f'"{option}"' for option in schema["enum"])
        causes.append(
            Cause(
                path, f'Unsupported value: "{value}": supported values: {allowed}', "FieldValueNotSupported"
            )
        )
    causes.extend(Cause(path, f"Invalid value: {value!r}: {problem}") for problem in _limits(value, schema))
    _validate_combinations(value, schema, path, causes)
    if isinstance(value, dict):
        _validate_object(value, schema, path, causes)
    elif isinstance(value, list) and isinstance(schema.get("items"), dict):
        for index, item in enumerate(value):
            _validate(item, schema["items"], f"{path}[{index}]", causes)


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


def _validate_combinations(value: Any, schema: Schema, path: str, causes: list[Cause]) -> None:
    def fits(option: Schema) -> bool:
        problems: list[Cause] = []
        _validate(value, option, path, problems)
        return not problems

    for option in schema.get("allOf") or ():
        _validate(value, option, path, causes)
    if (options := schema.get("anyOf")) and not any(map(fits, options)):
        causes.append(Cause(path, f"Invalid value: {value!r}: must validate at least one schema (anyOf)"))
    if (options := schema.get("oneOf")) and sum(map(fits, options)) != 1:
        causes.append(Cause(path, f"Invalid value: {value!r}: must validate one and only one schema (oneOf)"))
    if "not" in schema and fits(schema["not"]):
        causes.append(Cause(path, f"Invalid value: {value!r}: must not validate the schema (not)"))


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


def _limits(value: Any, schema: Schema) -> list[str]:
    """Sizes, ranges and patterns: the OpenAPI keywords a structural schema may carry."""
    found = []

    def check(keyword: str, holds: Callable[[Any], bool], wording: str) -> None:
        if keyword in schema and not holds(schema[keyword]):
            found.append(wording.format(schema[keyword]))

    if _is_number(value):
        low, high = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
        check("minimum", lambda m: value > m if low else value >= m, "should be greater than or equal to {}")
        check("maximum", lambda m: value < m if high else value <= m, "should be less than or equal to {}")
        check("multipleOf", lambda m: value % m == 0, "should be a multiple of {}")
    elif isinstance(value, str):
        check("minLength", lambda m: len(value) >= m, "should be at least {} chars long")
        check("maxLength", lambda m: len(value) <= m, "may not be longer than {}")
        check("pattern", lambda p: re.search(p, value) is not None, "should match '{}'")
    elif isinstance(value, list):
        check("minItems", lambda m: len(value) >= m, "should have at least {} items")
        check("maxItems", lambda m: len(value) <= m, "must have at most {} items")
    elif isinstance(value, dict):
        check("minProperties", lambda m: len(value) >= m, "should have at least {} properties")
        check("maxProperties", lambda m: len(value) <= m, "must have at most {} properties")
    return found


def _wrong_type(path: str, value: Any, expected: str) -> Cause:
    names = {dict: "object", list: "array", str: "string", bool: "boolean", int: "integer", float: "number"}
    return Cause(
        path,
        f'Invalid value: "{names.get(type(value), "null")}": {path} in body must be of type {expected}: {value!r}',
        "FieldValueTypeInvalid",
    )
