"""The OpenAPI definitions of the built-in kinds: types, merge keys, list types.

They come from the `kubernetes-validate` package, which ships one `_definitions.json` for each Kubernetes version
(generated from the upstream swagger). Only that file is read: the package itself (jsonschema and all) is not imported.
"""

from __future__ import annotations

import importlib.util
import json
from functools import cache
from pathlib import Path
from typing import Any

VERSION = "1.32"
Schema = dict[str, Any]

OBJECT_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"


def definitions_path() -> Path:
    """Raises FileNotFoundError where kubernetes-validate is not installed (extra `sandbox`)."""
    spec = importlib.util.find_spec("kubernetes_validate")
    if spec is None or spec.origin is None:
        raise FileNotFoundError(
            "the package kubernetes-validate is not installed: pip install 'slipway[sandbox]'"
        )
    return Path(spec.origin).parent / "kubernetes-json-schema" / f"v{VERSION}.0-local" / "_definitions.json"


def load_document() -> dict[str, Schema]:
    """All definitions with their descriptions, read afresh (12 ms): for `kubectl explain` alone."""
    document: dict[str, dict[str, Schema]] = json.loads(definitions_path().read_text())
    return document["$defs"]


class Definitions:
    """The built-in kinds' schemas. A schema is a JSON-schema dict; `resolve` follows its $ref."""

    def __init__(self) -> None:
        self._schemas: dict[str, Schema] = {
            name: _without_descriptions(schema) for name, schema in load_document().items()
        }
        self._kinds: dict[tuple[str, str, str], Schema] = {}
        for schema in self._schemas.values():
            for gvk in schema.get("x-kubernetes-group-version-kind", []):
                self._kinds.setdefault((gvk["group"], gvk["version"], gvk["kind"]), schema)

    def of_kind(self, group: str, version: str, kind: str) -> Schema:
        """Raises KeyError for a kind this Kubernetes version does not have."""
        return self._kinds[group, version, kind]

    def resolve(self, schema: Schema | None) -> Schema:
        """The schema itself, with every $ref followed; an empty one (anything goes) for None."""
        while schema and "$ref" in schema:
            schema = self._schemas[reference(schema)]
        return schema or {}

    def field(self, schema: Schema | None, name: str) -> Schema:
        """The schema of one field, unresolved: x-kubernetes-list-type and its kin stand beside a $ref."""
        parent = self.resolve(schema)
        found = parent.get("properties", {}).get(name)
        if found is None:
            found = parent.get("additionalProperties")
        return found if isinstance(found, dict) else {}

    def items(self, schema: Schema | None) -> Schema:
        items = self.resolve(schema).get("items")
        return items if isinstance(items, dict) else {}


def reference(schema: Schema) -> str:
    """The definition's name behind a $ref, or "" where there is none."""
    target = schema.get("$ref")
    return _last_part(target) if target else ""


@cache
def _last_part(target: str) -> str:
    return target.rsplit("/", 1)[-1]


@cache
def definitions() -> Definitions:
    """The one copy a process keeps."""
    return Definitions()


def _without_descriptions(node: Any, *, inside_properties: bool = False) -> Any:
    """Drop the prose: it is three quarters of the file, and only `kubectl explain` shows it."""
    if isinstance(node, dict):
        return {
            key: _without_descriptions(value, inside_properties=key == "properties" and not inside_properties)
            for key, value in node.items()
            if inside_properties or key != "description"
        }
    if isinstance(node, list):
        return [_without_descriptions(value) for value in node]
    return node
