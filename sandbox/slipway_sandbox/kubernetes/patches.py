"""The patch types that are not apply: JSON merge patch (RFC 7386) and strategic merge. JSON patch is answered 415."""

from __future__ import annotations

from typing import Any

from slipway_sandbox.kubernetes import errors
from slipway_sandbox.kubernetes.definitions import Schema, definitions
from slipway_sandbox.kubernetes.store import copy_json

MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
APPLY = "application/apply-patch+yaml"


def merge(target: Any, patch: Any) -> Any:
    """RFC 7386: objects are merged, null removes, everything else replaces. `target` is left alone."""
    if not isinstance(patch, dict):
        return copy_json(patch)
    merged = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge(merged.get(key), value)
    return merged


# ---------------------------------------------------------------------------------------------- strategic merge


def strategic(target: Any, patch: dict[str, Any], schema: Schema | None) -> dict[str, Any]:
    """Strategic merge: lists are merged by the schema's patchMergeKey. Raises ApiStatus 400 for unknown directives.

    Directives: $patch (merge, replace, delete), $retainKeys, $setElementOrder/…, $deleteFromPrimitiveList/….
    """
    directive = patch.get("$patch", "merge")
    if directive == "replace":
        return {key: copy_json(value) for key, value in patch.items() if key != "$patch"}
    if directive == "delete":
        return {}
    if directive != "merge":
        raise errors.bad_request(f"unknown patch type: {directive}")
    merged = dict(target) if isinstance(target, dict) else {}
    if (retained := patch.get("$retainKeys")) is not None:
        merged = {key: value for key, value in merged.items() if key in retained}
    for key, value in patch.items():
        if key.startswith("$deleteFromPrimitiveList/"):
            name = key.split("/", 1)[1]
            merged[name] = [item for item in merged.get(name) or [] if item not in value]
        elif not key.startswith("$"):
            _merge_field(merged, key, value, patch, definitions().field(schema, key))
    for key, order in patch.items():  # an order may come without any change to its list
        if key.startswith("$setElementOrder/") and isinstance(merged.get(name := key.split("/", 1)[1]), list):
            merge_key = definitions().field(schema, name).get("x-kubernetes-patch-merge-key")
            merged[name] = _in_order(merged[name], order, merge_key)
    return merged


def _merge_field(merged: dict[str, Any], key: str, value: Any, patch: dict[str, Any], schema: Schema) -> None:
    if value is None:
        merged.pop(key, None)
    elif isinstance(value, dict):
        atomic = schema.get("x-kubernetes-patch-strategy") == "replace"
        merged[key] = copy_json(value) if atomic else strategic(merged.get(key), value, schema)
        if value.get("$patch") == "delete":
            del merged[key]
    elif isinstance(value, list) and "merge" in schema.get("x-kubernetes-patch-strategy", ""):
        merged[key] = _merge_list(list(merged.get(key) or []), value, schema)
    else:
        merged[key] = copy_json(value)


def _merge_list(current: list[Any], patch: list[Any], schema: Schema) -> list[Any]:
    merge_key = schema.get("x-kubernetes-patch-merge-key")
    if merge_key is None:
        return current + [item for item in patch if item not in current]
    if any(isinstance(item, dict) and item.get("$patch") == "replace" for item in patch):
        return [copy_json(item) for item in patch if "$patch" not in item]
    for item in patch:
        if not isinstance(item, dict) or merge_key not in item:
            # A plain error inside kube-apiserver, hence its 500.
            raise errors.ApiStatus(500, "", f"map does not contain declared merge key: {merge_key}")
        position = next((i for i, old in enumerate(current) if old.get(merge_key) == item[merge_key]), None)
        if item.get("$patch") == "delete":
            if position is not None:
                del current[position]
        elif position is None:
            current.append(strategic({}, item, schema.get("items")))
        else:
            current[position] = strategic(current[position], item, schema.get("items"))
    return current


def _in_order(items: list[Any], order: list[Any], merge_key: str | None) -> list[Any]:
    """Named items take the order's sequence; the server's own keep their place after their neighbours."""

    def identity(item: Any) -> Any:
        return item.get(merge_key) if merge_key and isinstance(item, dict) else item

    rank = {identity(item): index for index, item in enumerate(order)}
    listed = iter(sorted((i for i in items if identity(i) in rank), key=lambda i: rank[identity(i)]))
    return [next(listed) if identity(item) in rank else item for item in items]
