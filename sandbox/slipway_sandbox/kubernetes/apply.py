"""Server-side apply: merge a manager's whole intent, refuse what others own, drop what the manager no longer names."""

from __future__ import annotations

import datetime as dt
from typing import Any

from slipway_sandbox.kubernetes import managed
from slipway_sandbox.kubernetes.definitions import Schema, definitions
from slipway_sandbox.kubernetes.errors import ApiStatus
from slipway_sandbox.kubernetes.managed import Entry, Owner, Path
from slipway_sandbox.kubernetes.store import Object, copy_json


def apply(
    live: Object | None,
    intent: Object,
    schema: Schema,
    owner: Owner,
    *,
    force: bool,
    now: dt.datetime,
) -> tuple[Object, dict[Owner, Entry]]:
    """The object and its owners after an apply of `intent` by `owner`.

    Raises ApiStatus 409 with FieldManagerConflict causes where another manager owns a field at another value and
    `force` is not set.
    """
    wanted = managed.leaves(intent, schema)
    mine = frozenset(wanted)
    if live is None:
        return copy_json(intent), {owner: Entry(mine, intent["apiVersion"], managed.timestamp(now))}
    owners = managed.load(live)
    disputed = _disputed(owners, owner, wanted, managed.leaves(live, schema))
    if disputed and not force:
        raise _conflicts([(other, owners[other].api_version, path) for other, path in disputed])
    for other, path in disputed:
        entry = owners[other]
        owners[other] = Entry(entry.fields - {path}, entry.api_version, entry.time)
    merged: Object = _merge(
        live, {k: v for k, v in intent.items() if k not in ("apiVersion", "kind")}, schema
    )
    previous = owners.get(owner)
    if previous is not None:
        merged = copy_json(merged)
        _drop(merged, previous.fields, mine, [e.fields for o, e in owners.items() if o != owner], schema)
    if previous is None or previous.fields != mine:
        owners[owner] = Entry(mine, intent["apiVersion"], managed.timestamp(now))
    return merged, owners


def _disputed(
    owners: dict[Owner, Entry], owner: Owner, wanted: managed.Leaves, current: managed.Leaves
) -> list[tuple[Owner, Path]]:
    """Fields that somebody else owns at another value."""
    return [
        (other, path)
        for other, entry in owners.items()
        if other != owner
        for path in sorted(entry.fields & wanted.keys())
        if current.get(path) != wanted[path]
    ]


def _drop(
    merged: Object,
    previous: frozenset[Path],
    mine: frozenset[Path],
    others: list[frozenset[Path]],
    schema: Schema,
) -> None:
    """Remove what this manager applied before and no longer names, unless somebody else owns it too.

    Parents count as named: a probe that is no longer applied goes with the defaults the server filled into it.
    """
    gone = managed.prefixes(previous) - managed.prefixes(mine)
    for fields in others:
        gone -= managed.prefixes(fields)
    for path in sorted(gone, key=len):
        managed.remove(merged, path, schema)


def _merge(target: Any, intent: Any, schema: Schema) -> Any:
    kind = managed.list_type(schema)
    if isinstance(intent, dict) and isinstance(target, dict) and not managed.atomic_map(schema):
        merged = dict(target)
        for key, value in intent.items():
            merged[key] = _merge(merged.get(key), value, definitions().field(schema, key))
        return merged
    if isinstance(intent, list) and isinstance(target, list) and kind == "map":
        return _merge_keyed(target, intent, schema)
    if isinstance(intent, list) and isinstance(target, list) and kind == "set":
        return target + [item for item in intent if item not in target]
    return copy_json(intent)


def _merge_keyed(target: list[Any], intent: list[Any], schema: Schema) -> list[Any]:
    items = definitions().items(schema)
    merged = list(target)
    positions = {managed.item_key(item, schema): index for index, item in enumerate(merged)}
    for item in intent:
        key = managed.item_key(item, schema)
        if key in positions:
            merged[positions[key]] = _merge(merged[positions[key]], item, items)
        else:
            positions[key] = len(merged)
            merged.append(copy_json(item))
    return merged


def _conflicts(disputed: list[tuple[Owner, str, Path]]) -> ApiStatus:
    found: dict[str, list[str]] = {}  # who, as it is written, and the fields
    for (manager, operation, subresource), version, path in disputed:
        who = f'"{manager}"' + (f' with subresource "{subresource}"' if subresource else "")
        who += f" using {version}" if operation == "Update" else ""
        found.setdefault(who, []).append(managed.describe(path))
    causes = [
        {"reason": "FieldManagerConflict", "message": f"conflict with {who}", "field": field}
        for who, fields in sorted(found.items())
        for field in fields
    ]
    if len(causes) == 1:
        message = f"Apply failed with 1 conflict: {causes[0]['message']}: {causes[0]['field']}"
    else:
        lines = [
            "\n".join([f"conflicts with {who}:", *(f"- {field}" for field in fields)])
            for who, fields in sorted(found.items())
        ]
        message = f"Apply failed with {len(causes)} conflicts: " + "\n".join(lines)
    return ApiStatus(409, "Conflict", message, details={"causes": causes})
