"""Field ownership: which manager owns which fields, in the FieldsV1 form of `metadata.managedFields`.

A path is a tuple of FieldsV1 steps: `f:name`, `k:{"name":"a"}` for an item of a keyed list, `v:"x"` for an item of a
set. An atomic value is one leaf. Format: sigs.k8s.io/structured-merge-diff.
"""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from slipway_sandbox.kubernetes.definitions import Schema, definitions

Path = tuple[str, ...]
Leaves = dict[Path, Any]
Owner = tuple[str, str, str]  # manager, operation (Apply, Update), subresource

_ITEM = "."
# The server's own fields: nobody owns them (k8s.io/apiserver/pkg/endpoints/handlers/fieldmanager/stripmeta.go).
_UNOWNED_METADATA = frozenset(
    [
        "name",
        "namespace",
        "uid",
        "resourceVersion",
        "generation",
        "creationTimestamp",
        "managedFields",
        "generateName",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "selfLink",
    ]
)
KEY_DEFAULTS = {"protocol": "TCP"}


@dataclass(frozen=True)
class Entry:
    """What one owner owns, and since when."""

    fields: frozenset[Path]
    api_version: str
    time: str


# Fields that hold a Go struct, not a pointer to one: they are there in every object, so nobody brings them in.
_STRUCTS = frozenset(
    {
        "metadata",
        "spec",
        "status",
        "template",
        "strategy",
        "updateStrategy",
        "names",
        "acceptedNames",
        "loadBalancer",
        "nodeInfo",
        "daemonEndpoints",
        "kubeletEndpoint",
        "podAffinityTerm",
        "preference",
        "state",
        "lastState",
    }
)


def leaves(object_: dict[str, Any], schema: Schema, *, parents: bool = False) -> Leaves:
    """Every ownable leaf of an object with its value; keyed list items also have a `.` leaf for their being there.

    `parents`: maps, lists and pointers have one too, as an update brings them in; an apply names only what it fills.
    """
    found: Leaves = {}
    for key, value in object_.items():
        if key in ("apiVersion", "kind"):
            continue
        if key == "metadata":
            value = {k: v for k, v in value.items() if k not in _UNOWNED_METADATA}
            if not value:
                continue
        below = definitions().field(schema, key)
        if parents and "properties" in below and isinstance(value, dict) and value:  # a custom resource's own
            found[f"f:{key}", _ITEM] = None
        _collect(value, below, (f"f:{key}",), found, parents)
    return found


def _collect(value: Any, schema: Schema, path: Path, found: Leaves, parents: bool = False) -> None:
    if isinstance(value, dict) and value and not atomic_map(schema):
        required = definitions().resolve(schema).get("required", ()) if "$ref" in schema else ()
        for key, item in value.items():
            below = definitions().field(schema, key)
            step = (*path, f"f:{key}")
            if parents and item and _brought_in(key, item, below, required):
                found[*step, _ITEM] = None
            _collect(item, below, step, found, parents)
        return
    if isinstance(value, list) and value:
        kind = list_type(schema)
        if kind == "map":
            items = definitions().items(schema)
            for item in value:
                step = (*path, item_key(item, schema))
                found[*step, _ITEM] = None
                _collect(item, items, step, found, parents)
            return
        if kind == "set":
            found.update({(*path, "v:" + json.dumps(item)): item for item in value})
            return
    found[path] = value


def _brought_in(key: str, item: Any, schema: Schema, required: Any) -> bool:
    """Whether a field is not there in Go's empty object, and is no leaf itself."""
    if isinstance(item, dict):
        return not atomic_map(schema) and not (key in _STRUCTS and "$ref" in schema)
    return isinstance(item, list) and list_type(schema) != "atomic" and key not in required


def list_type(schema: Schema) -> str:
    return str(schema.get("x-kubernetes-list-type", "atomic"))


def atomic_map(schema: Schema) -> bool:
    return "atomic" in (
        schema.get("x-kubernetes-map-type"),
        definitions().resolve(schema).get("x-kubernetes-map-type"),
    )


def item_key(item: Any, schema: Schema) -> str:
    """The `k:{…}` step of one item of a keyed list."""
    keys = {}
    for key in schema.get("x-kubernetes-list-map-keys", ()):
        value = item[key] if key in item else key_default(key, definitions().items(schema))
        if value is not None:
            keys[key] = value
    return "k:" + json.dumps(keys, sort_keys=True, separators=(",", ":"))


def key_default(key: str, items: Schema) -> Any:
    """What stands for a key an item leaves out; None where nothing does. Go's zero value counts for built-in kinds."""
    if key in KEY_DEFAULTS:
        return KEY_DEFAULTS[key]
    field = definitions().field(items, key)
    if "default" in field or "$ref" not in items:
        return field.get("default")
    kind = definitions().resolve(field).get("type")
    return {"integer": 0, "string": ""}.get(kind[0] if isinstance(kind, list) else kind or "")


def prefixes(paths: frozenset[Path]) -> set[Path]:
    """The paths and all their parents, the `.` leaves standing for their item."""
    found = set()
    for path in paths:
        whole = path[:-1] if path[-1] == _ITEM else path
        for length in range(len(whole), 0, -1):
            if whole[:length] in found:
                break
            found.add(whole[:length])
    return found


def remove(node: Any, path: Path, schema: Schema) -> None:
    """Take one field, item or subtree out of an object, in place; one that is not there is fine."""
    step, rest = path[0], path[1:]
    if step.startswith("f:") and isinstance(node, dict):
        key = step[2:]
        if not rest:
            node.pop(key, None)
        elif key in node:
            remove(node[key], rest, definitions().field(schema, key))
    elif step.startswith("k:") and isinstance(node, list):
        for index, item in enumerate(node):
            if item_key(item, schema) == step:
                if rest:
                    remove(item, rest, definitions().items(schema))
                else:
                    del node[index]
                return
    elif step.startswith("v:") and isinstance(node, list):
        value = json.loads(step[2:])
        if value in node:
            node.remove(value)


def describe(path: Path) -> str:
    """As conflicts name a field: `.spec.template.spec.containers[name="web"].image`."""
    text = ""
    for step in path:
        if step.startswith("k:"):
            keys = json.loads(step[2:])
            text += "[" + ",".join(f"{key}={json.dumps(value)}" for key, value in keys.items()) + "]"
        elif step.startswith("v:"):
            text += f"[={step[2:]}]"
        elif step != _ITEM:
            text += "." + step[2:]
    return text


def load(object_: dict[str, Any]) -> dict[Owner, Entry]:
    found = {}
    for entry in object_["metadata"].get("managedFields") or []:
        if not entry.get("operation"):  # one empty entry asks to forget them all
            continue
        owner = (entry.get("manager", ""), entry["operation"], entry.get("subresource", ""))
        fields = frozenset(_unfold(entry.get("fieldsV1") or {}, ()))
        found[owner] = Entry(fields, entry.get("apiVersion", ""), entry.get("time", ""))
    return found


def store(owners: dict[Owner, Entry]) -> list[dict[str, Any]]:
    """The value of `metadata.managedFields`; owners of nothing drop out."""
    return [
        {
            "manager": manager,
            "operation": operation,
            "apiVersion": entry.api_version,
            "time": entry.time,
            "fieldsType": "FieldsV1",
            "fieldsV1": _fold(entry.fields),
        }
        | ({"subresource": subresource} if subresource else {})
        for (manager, operation, subresource), entry in owners.items()
        if entry.fields
    ]


def keep(metadata: dict[str, Any], owners: dict[Owner, Entry]) -> None:
    """Write the owners into an object's metadata, which has no such field where nobody owns anything."""
    metadata.pop("managedFields", None)
    if entries := store(owners):
        metadata["managedFields"] = entries


@lru_cache(maxsize=1024)
def _fold(paths: frozenset[Path]) -> dict[str, Any]:
    """Objects made from one template share one tree, a quarter of their memory; it is never changed in place."""
    tree: dict[str, Any] = {}
    for path in sorted(paths):
        node = tree
        for step in path:
            node = node.setdefault(step, {})
    return tree


def _unfold(tree: dict[str, Any], path: Path) -> list[Path]:
    if not tree:
        return [path] if path else []
    return [leaf for step, below in tree.items() for leaf in _unfold(below, (*path, step))]


def take_over(
    owners: dict[Owner, Entry],
    before: Leaves,
    after: Leaves,
    owner: Owner,
    api_version: str,
    now: dt.datetime,
) -> dict[Owner, Entry]:
    """The owners after an update: who changed a field owns it alone; a field that is gone belongs to nobody."""
    changed = frozenset(p for p, value in after.items() if p not in before or before[p] != value)
    gone = frozenset(before.keys() - after.keys())
    if not changed and not gone:
        return owners
    updated = {
        o: Entry(entry.fields - changed - gone, entry.api_version, entry.time) for o, entry in owners.items()
    }
    mine = updated.get(owner, Entry(frozenset(), api_version, ""))
    # Removing a field is a write by this owner as well, though nothing of it remains to be owned.
    updated[owner] = Entry(mine.fields | changed, api_version, timestamp(now))
    return updated


def timestamp(now: dt.datetime) -> str:
    return now.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
