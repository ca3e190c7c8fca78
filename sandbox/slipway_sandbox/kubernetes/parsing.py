"""JSON and YAML texts to values, and which of their keys were written twice: the last one counts, strict decoding objects."""

from __future__ import annotations

import json
import re
from typing import Any

import yaml

from slipway_sandbox.kubernetes import errors

Pairs = list[tuple[str, Any]]


class _Loader(yaml.SafeLoader):
    """YAML 1.1 as Kubernetes reads it: a date stays a string, for JSON knows no dates; `y` and `n` are booleans."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}

for _letter in "yYnN":
    _Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("^[yYnN]$"), [_letter])
_Loader.bool_values = yaml.SafeLoader.bool_values | {"y": True, "n": False}


def parse_json(raw: bytes) -> tuple[Any, list[str]]:
    """The value, and what Go's decoder says of keys that came twice. Raises ApiStatus 400."""
    twice = False

    def collect(pairs: Pairs) -> dict[str, Any]:
        nonlocal twice
        found = dict(pairs)
        twice = twice or len(found) != len(pairs)
        return found

    try:
        value = json.loads(raw, object_pairs_hook=collect)
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as wrong:
        raise errors.bad_request(f"couldn't get version/kind; json parse error: {wrong}") from None
    if not twice:
        return value, []
    paths: list[str] = []
    _duplicates(json.loads(raw, object_pairs_hook=_Pairs), "", paths)
    return value, [f'duplicate field "{path}"' for path in paths]


class _Pairs:
    """An object as it was written."""

    def __init__(self, pairs: Pairs) -> None:
        self.pairs = pairs


def _duplicates(node: Any, path: str, found: list[str]) -> None:
    if isinstance(node, list):
        for index, item in enumerate(node):
            _duplicates(item, f"{path}[{index}]", found)
    elif isinstance(node, _Pairs):
        seen: set[str] = set()
        for key, value in node.pairs:
            below = f"{path}.{key}" if path else key
            if key in seen and below not in found:
                found.append(below)
            seen.add(key)
            _duplicates(value, below, found)


def parse_yaml(raw: bytes) -> tuple[Any, list[str]]:
    """As parse_json, for a YAML document."""
    try:
        document = yaml.compose(raw, Loader=_Loader)
        value = yaml.load(raw, Loader=_Loader)  # noqa: S506 -- a SafeLoader
    except (yaml.YAMLError, UnicodeDecodeError) as wrong:
        raise errors.bad_request(f"error converting YAML to JSON: {wrong}") from None
    return value, _twice(document)


def _twice(node: Any) -> list[str]:
    found: list[str] = []
    if isinstance(node, yaml.SequenceNode):
        return [line for item in node.value for line in _twice(item)]
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            name = str(key.value)
            if name in seen:
                found.append(f'line {key.start_mark.line + 1}: key "{name}" already set in map')
            seen.add(name)
            found += _twice(value)
    return found
