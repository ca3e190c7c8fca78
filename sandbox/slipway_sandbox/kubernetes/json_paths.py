"""The JSONPath subset of printer columns."""

from __future__ import annotations

import re
from typing import Any

_STEP = re.compile(
    r"""\.([\w-]+)|\[['"]([^'"\]]+)['"]\]|\[(\d+)\]|\[\?\(@\.([\w.]+)\s*==\s*['"]([^'"]*)['"]\)\]"""
)


def json_path(object_: Any, path: str) -> Any:
    """The simple paths printer columns use: `.a.b`, `[0]`, `['a.b']`, `[?(@.type=="Ready")]`; None where nothing is."""
    value = object_
    for name, quoted, index, field, wanted in _STEP.findall(path.replace("\\.", "\0")):
        key = (name or quoted).replace("\0", ".")
        if key:
            value = value.get(key) if isinstance(value, dict) else None
        elif index:
            value = value[int(index)] if isinstance(value, list) and int(index) < len(value) else None
        else:
            items = value if isinstance(value, list) else []
            value = next((i for i in items if isinstance(i, dict) and str(i.get(field)) == wanted), None)
    return value
