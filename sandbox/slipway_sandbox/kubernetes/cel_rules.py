"""Validate custom objects by the CEL rules of their schema (x-kubernetes-validations).

Source: k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel/validation.go. Of a rule `rule` and `message` are read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from slipway_sandbox.kubernetes import names
from slipway_sandbox.kubernetes.cel import CelError, CelSyntaxError, parse
from slipway_sandbox.kubernetes.definitions import Schema
from slipway_sandbox.kubernetes.errors import Cause

RULES = "x-kubernetes-validations"
_OLD = re.compile(r"\boldSelf\b")
_MISSING: Any = object()
_KINDS = {dict: "object", list: "array", str: "string", bool: "boolean", int: "integer", float: "number"}


def broken(new: Any, old: Any, schema: Schema) -> list[Cause]:
    """Causes for every rule that fails; `old` is None on creation."""
    return list(_walk(new, _MISSING if old is None else old, schema, ""))


def _walk(new: Any, old: Any, schema: Schema, path: str) -> Iterator[Cause]:
    if new is None or "$ref" in schema:
        return
    for rule in schema.get(RULES) or ():
        cause = _judge(rule, new, old, path)
        if cause is not None:
            yield cause
    if isinstance(new, dict):
        properties, rest = schema.get("properties") or {}, schema.get("additionalProperties")
        for key, value in new.items():
            below = properties.get(key, rest)
            if isinstance(below, dict):
                before = old.get(key, _MISSING) if isinstance(old, dict) else _MISSING
                yield from _walk(value, before, below, f"{path}.{key}" if path else key)
    elif isinstance(new, list) and isinstance(schema.get("items"), dict):
        for index, item in enumerate(new):
            yield from _walk(item, _MISSING, schema["items"], f"{path}[{index}]")


def _judge(rule: dict[str, Any], new: Any, old: Any, path: str) -> Cause | None:
    text = rule["rule"]
    if old is _MISSING and _OLD.search(text):
        return None  # transition rules do not apply to new values
    try:
        if parse(text)({"self": new, "oldSelf": None if old is _MISSING else old}) is True:
            return None
        said = rule.get("message") or f"failed rule: {text}"
    except CelError as error:
        said = f"{error} evaluating rule: {rule.get('message') or text}"
    kind = _KINDS.get(type(new), "object")
    return Cause(path or "<nil>", f'Invalid value: "{kind}": {said}', "FieldValueInvalid")


def compile_errors(schema: Schema, path: str) -> Iterator[Cause]:
    """Causes for rules of a schema that do not compile: the definition is refused."""
    for index, rule in enumerate(schema.get(RULES) or ()):
        where = f"{path}.{RULES}[{index}].rule"
        try:
            parse(rule.get("rule") or "")
        except CelSyntaxError as error:
            yield names.bad(where, rule.get("rule", ""), f"compilation failed: ERROR: <input>:1:1: {error}")
    for key, below in (schema.get("properties") or {}).items():
        yield from compile_errors(below, f"{path}.properties[{key}]")
    for key in ("items", "additionalProperties"):
        if isinstance(below := schema.get(key), dict):
            yield from compile_errors(below, f"{path}.{key}")
