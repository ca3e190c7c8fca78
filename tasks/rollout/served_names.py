"""The names that requests may ask for, from the files of all routes (gateway.routes). Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping


def served_names(all_routes: Mapping[str, str]) -> dict[str, str]:
    """What a request may ask for -> the model that serves it: names, aliases and adapters of every route. Pure."""
    leads = {name.removesuffix(".json"): name.removesuffix(".json") for name in all_routes if _names(name)}
    for file, text in all_routes.items():
        if _names(file):
            given = json.loads(text)
            leads |= dict.fromkeys(
                [*given["aliases"], *given.get("adapters", ())], file.removesuffix(".json")
            )
    return leads


def adapter_names(all_routes: Mapping[str, str]) -> list[str]:
    """The names that vLLM itself knows beside a model's: they go through the gateway as they are. Pure."""
    given = [json.loads(text) for file, text in all_routes.items() if _names(file)]
    return sorted(name for names in given for name in names.get("adapters", ()))


def _names(file: str) -> bool:
    return file.endswith(".json")
