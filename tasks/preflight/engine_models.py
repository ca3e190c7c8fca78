"""What each vLLM version can serve: architectures, parsers, load formats, keys of JSON flags. Pure over engine_models/*.json.

The tables were read from vLLM's own wheels (tools/engine_tables.py).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

TABLES = Path(__file__).with_name("engine_models")


@dataclass(frozen=True)
class EngineModels:
    """One version. `generate`, `pooling`: architectures by what they do; `unsplit`: those without pipeline parallelism;
    `removed`: architecture -> the last version that had it; `plugin`: architecture -> where its plugin is; `keys`: JSON
    flag -> the keys it takes; `environment`: variables vLLM reads, none where the table does not have them."""

    version: str
    generate: frozenset[str]
    pooling: frozenset[str]
    draft: frozenset[str]
    unsplit: frozenset[str]
    stateful: frozenset[str]
    removed: Mapping[str, str]
    plugin: Mapping[str, str]
    tool_parsers: frozenset[str]
    reasoning_parsers: frozenset[str]
    load_formats: frozenset[str]
    chat_templates: frozenset[str]
    rope_not_scaled: tuple[str, ...]
    keys: Mapping[str, frozenset[str]]
    environment: frozenset[str]

    def known(self, architecture: str) -> bool:
        return architecture in self.generate or architecture in self.pooling


@cache
def models_of(version: str) -> EngineModels | None:
    """None where there is no table of exactly that version."""
    file = TABLES / f"{version}.json"
    if not file.is_file():
        return None
    document: dict[str, Any] = json.loads(file.read_text("utf-8"))
    sets = {
        name: frozenset(document[name])
        for name in (
            "generate",
            "pooling",
            "draft",
            "unsplit",
            "stateful",
            "tool_parsers",
            "reasoning_parsers",
            "load_formats",
            "chat_templates",
        )
    }
    return EngineModels(
        version=version,
        removed=document["removed"],
        plugin=document["plugin"],
        rope_not_scaled=tuple(document["rope_not_scaled"]),
        environment=frozenset(document.get("environment", ())),
        keys={flag: frozenset(keys) for flag, keys in document["keys"].items()},
        **sets,
    )
