"""Write the JSON Schemas of models/*.yaml and environments/*.yaml, by which editors complete and check those files.

Draft 7, the last one that yaml-language-server 1.19 supports: https://github.com/redhat-developer/yaml-language-server
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tasks.records.environment import Environment
from tasks.records.model import Model
from tasks.records.record import Record

FOLDER = "schemas"
RECORDS: dict[str, type[Record]] = {"model": Model, "environment": Environment}
# pydantic writes the bounds of a value with a parser under these names, which no JSON Schema knows
_BOUNDS = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}


def schema_of(kind: str) -> dict[str, Any]:
    """The JSON Schema of a file. `kind`: "model" or "environment".

    It says what each field may be. Rules between fields, such as rate or stages, are the reader's alone.
    """
    found: dict[str, Any] = _in_draft_7(RECORDS[kind].model_json_schema(ref_template="#/definitions/{model}"))
    return {"$schema": "http://json-schema.org/draft-07/schema#", **found}


def write_schemas(project: Path) -> list[Path]:
    """Write schemas/KIND.schema.json for each kind; the files written."""
    (project / FOLDER).mkdir(exist_ok=True)
    written = []
    for kind in RECORDS:
        path = project / FOLDER / f"{kind}.schema.json"
        path.write_text(as_text(schema_of(kind)), "utf-8")
        written.append(path)
    return written


def as_text(schema: dict[str, Any]) -> str:
    """A schema as its file has it."""
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def _in_draft_7(node: Any) -> Any:
    """The same schema with `definitions`, and every bound under its name in JSON Schema."""
    if isinstance(node, list):
        return [_in_draft_7(one) for one in node]
    if not isinstance(node, dict):
        return node
    bounds = {} if node.get("type") == "object" else _BOUNDS
    renamed = {"$defs": "definitions", **bounds}
    return {renamed.get(key, key): _in_draft_7(value) for key, value in node.items()}
