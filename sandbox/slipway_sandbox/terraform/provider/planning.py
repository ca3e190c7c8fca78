"""What Terraform asks a provider to compute: the planned state, what forces a replacement, the state after apply and read."""

from __future__ import annotations

from typing import Any

from slipway_sandbox.terraform.provider.schema import MISSING, Attribute, Block, Path, State
from slipway_sandbox.terraform.provider.values import (
    UNKNOWN,
    canonical,
    canonical_blocks,
    canonical_value,
    complete,
    has_unknown,
    same_document,
)

_EMPTY: tuple[Any, ...] = (None, "", [], {}, False, 0)


def plan(block: Block, prior: State | None, proposed: State, config: State) -> tuple[State, list[Path]]:
    """The planned state and the paths that force a replacement.

    `proposed` is Terraform's own merge of configuration and prior state; it is edited in place.
    """
    _fill(block, proposed, config, creating=prior is None, changed=False)
    for name, nested in block.blocks.items():
        if nested.computed and not config.get(name):
            proposed[name] = UNKNOWN if prior is None else prior.get(name)
    if prior is None:
        return complete(block, proposed), []
    _keep_equivalent_documents(block, prior, proposed)
    if canonical(block, prior) == canonical(block, proposed):
        return complete(block, prior), []
    replaced = replacements(block, prior, proposed)
    moved = _moved(block, prior, proposed)
    kept = {name for name, a in block.attributes.items() if a.unmoved_by and moved <= a.unmoved_by}
    _fill(block, proposed, config, creating=False, changed=True)
    for name in kept - set(_configured(config)):
        proposed[name] = prior.get(name)
    return complete(block, proposed), replaced


def _configured(config: State) -> list[str]:
    return [name for name, value in config.items() if value is not None]


def _moved(block: Block, prior: State, proposed: State) -> set[str]:
    """The attributes and blocks at the top that change."""
    attributes = {
        name
        for name, a in block.attributes.items()
        if canonical_value(a.type, prior.get(name)) != canonical_value(a.type, proposed.get(name))
    }
    blocks = {
        name
        for name, nested in block.blocks.items()
        if canonical_blocks(nested, prior.get(name)) != canonical_blocks(nested, proposed.get(name))
    }
    return attributes | blocks


def _fill(block: Block, proposed: State, config: State | None, *, creating: bool, changed: bool) -> None:
    """Defaults, and UNKNOWN where only the API will know."""
    for name, attribute in block.attributes.items():
        if not attribute.computed or (config or {}).get(name) is not None:
            continue
        if attribute.default is not MISSING:
            proposed[name] = attribute.default
        elif (creating and proposed.get(name) is None) or (changed and attribute.varies):
            proposed[name] = UNKNOWN
    for name, nested in block.blocks.items():
        planned, configured = proposed.get(name), (config or {}).get(name)
        if planned is UNKNOWN or not planned:
            continue
        for index, item in enumerate(planned):
            if item is UNKNOWN:
                continue
            # Terraform sends sets in one order (by hash) in both values, so the index pairs them
            own = configured[index] if isinstance(configured, list) and index < len(configured) else {}
            added = creating or _has_nothing_computed(nested, item)
            _fill(nested, item, own, creating=added, changed=changed)


def _has_nothing_computed(block: Block, item: State) -> bool:
    names = [n for n, a in block.attributes.items() if a.computed and a.default is MISSING]
    return all(item.get(name) is None for name in names)


def _keep_equivalent_documents(block: Block, prior: State, proposed: State) -> None:
    for name, attribute in block.attributes.items():
        if attribute.document and same_document(prior.get(name), proposed.get(name)):
            proposed[name] = prior.get(name)


def replacements(block: Block, prior: State, planned: State, path: Path = ()) -> list[Path]:
    """The paths whose change cannot be made in place."""
    found = [
        (*path, name)
        for name, a in block.attributes.items()
        if a.forces_new
        and canonical_value(a.type, prior.get(name)) != canonical_value(a.type, planned.get(name))
    ]
    for name, nested in block.blocks.items():
        before, after = prior.get(name), planned.get(name)
        if nested.forces_new:
            if canonical_blocks(nested, before) != canonical_blocks(nested, after):
                found.append((*path, name))
        elif nested.nesting == "list" and isinstance(before, list) and isinstance(after, list):
            for index, (one, other) in enumerate(zip(before, after, strict=False)):
                if other is not UNKNOWN:
                    found += replacements(nested, one, other, (*path, name, index))
    return found


def applied(block: Block, planned: State, shown: State) -> State:
    """The state after apply: what the plan promised stays as promised, the rest is what the API shows."""
    state: State = {}
    for name in block.attributes:
        value = planned.get(name)
        state[name] = shown.get(name) if has_unknown(value) else value
    for name, nested in block.blocks.items():
        promised, api = planned.get(name), shown.get(name) or []
        if promised is UNKNOWN or (not promised and nested.computed):
            state[name] = api
        else:
            pairs = _paired(nested, promised or [], api)
            state[name] = [applied(nested, item, match) for item, match in pairs]
    whole: State = _known(complete(block, state))
    return whole


def _known(value: Any) -> Any:
    """What neither the plan nor the API knows is null: Terraform refuses unknown values after apply."""
    if isinstance(value, dict):
        return {key: _known(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_known(item) for item in value]
    return None if value is UNKNOWN else value


def refreshed(block: Block, current: State, shown: State) -> State:
    """The state after a read: the API wins, but what was never set stays null where the API shows emptiness."""
    state: State = {}
    for name, attribute in block.attributes.items():
        state[name] = _refreshed_attribute(attribute, current.get(name), shown, name)
    for name, nested in block.blocks.items():
        mine = current.get(name)
        if name not in shown or (not mine and not nested.computed and not shown[name]):
            state[name] = mine
        else:
            pairs = _paired(nested, shown[name] or [], mine or [])
            state[name] = [refreshed(nested, match, item) for item, match in pairs]
    whole: State = complete(block, state)
    return whole


def _refreshed_attribute(attribute: Attribute, mine: Any, shown: State, name: str) -> Any:
    if name not in shown:  # not readable from the API: an import has only the default to go by
        return attribute.default if mine is None and attribute.default is not MISSING else mine
    value = shown[name]
    if mine is None and attribute.optional and not attribute.computed and value in _EMPTY:
        return None
    if attribute.document and same_document(mine, value):
        return mine
    return value


def _paired(block: Block, items: list[State], others: list[State]) -> list[tuple[State, State]]:
    """Each item with its counterpart: by place in a list, by its own required attributes in a set."""
    if block.nesting == "list":
        return [(item, others[i] if i < len(others) else {}) for i, item in enumerate(items)]
    keys = [name for name, a in block.attributes.items() if a.required]
    by_key = {repr([other.get(key) for key in keys]): other for other in others}
    return [(item, by_key.get(repr([item.get(key) for key in keys]), {})) for item in items]
