"""botocore's descriptions of AWS services, without what only people read: half the memory of a process that has several.

EC2's alone is 15 MB as botocore loads it, most of it texts and ordered dictionaries from before dictionaries kept their order.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from sys import intern
from typing import Any, cast

from botocore.loaders import JSONFileLoader


def read_lean() -> None:
    """Make botocore drop the texts from the models it loads from now on in this process."""

    def load_file(_self: object, path: str, open_method: Callable[..., Any]) -> Any:
        try:
            with open_method(path, "rb") as file:
                return json.loads(file.read(), object_pairs_hook=_without_texts)
        except FileNotFoundError:
            return None

    cast(Any, JSONFileLoader)._load_file = load_file


def _without_texts(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """botocore asks some of them for their `documentation`: it stays, and is empty. A member may be called so too.

    The same few names stand in tens of thousands of places, and are kept once.
    """
    return {key: _lean(key, value) for key, value in pairs}


def _lean(key: str, value: Any) -> Any:
    if not isinstance(value, str):
        return value
    return "" if key == "documentation" else intern(value)
