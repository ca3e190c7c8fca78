"""Validate custom objects by the CEL rules of their schema (x-kubernetes-validations).

Source: k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel/validation.go.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from slipway_sandbox.kubernetes import names
from slipway_sandbox.kubernetes.cel import CelSyntaxError, Unsupported, parse, unescaped
from slipway_sandbox.kubernetes.cel_functions import CelError
from slipway_sandbox.kubernetes.definitions import Schema
from slipway_sandbox.kubernetes.errors import Cause

RULES = "x-kubernetes-validations"
_OLD = re.compile(r"\boldSelf\b")
_MISSING: Any = object()
_KINDS = {dict: "object", list: "array", str: "string", bool: "boolean", int: "integer", float: "number"}


def broken(new: Any, old: Any, schema: Schema) -> list[Cause]:
    """Causes for every rule that fails; `old` is None on creation. Unsupported rules are skipped."""
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
            yield from _walk(item, _counterpart(item, old, schema), schema["items"], f"{path}[{index}]")


def _counterpart(item: Any, old: Any, schema: Schema) -> Any:
    """The item's previous version, known in keyed lists only."""
    keys = schema.get("x-kubernetes-list-map-keys")
    if schema.get("x-kubernetes-list-type") != "map" or not keys or not isinstance(old, list):
        return _MISSING
    wanted = [item.get(key) for key in keys]
    return next((o for o in old if [o.get(key) for key in keys] == wanted), _MISSING)


def _judge(rule: dict[str, Any], new: Any, old: Any, path: str) -> Cause | None:
    text = rule["rule"]
    if old is _MISSING and _OLD.search(text):
        return None  # transition rules do not apply to new values
    scope = {"self": new, "oldSelf": None if old is _MISSING else old}
    try:
        if parse(text)(scope) is True:
            return None
        said = _message(rule, scope)
    except (Unsupported, CelSyntaxError):
        return None  # invalid rules were refused with the definition
    except CelError as error:
        said = f"{error} evaluating rule: {rule.get('message') or text}"
    field = f"{path}{rule.get('fieldPath', '')}".lstrip(".") or "<nil>"
    return _cause(rule.get("reason") or "FieldValueInvalid", field, new, said)


def _message(rule: dict[str, Any], scope: dict[str, Any]) -> str:
    if expression := rule.get("messageExpression"):
        try:
            said = parse(expression)(scope)
        except (CelError, CelSyntaxError):
            said = None
        if isinstance(said, str) and said.strip():
            return said
    return str(rule.get("message") or f"failed rule: {rule['rule']}")


def _cause(reason: str, field: str, value: Any, said: str) -> Cause:
    if reason == "FieldValueRequired":
        return names.required(field, said)
    if reason == "FieldValueForbidden":
        return names.forbidden(field, said)
    kind = _KINDS.get(type(value), "object")
    word = "Duplicate value" if reason == "FieldValueDuplicate" else "Invalid value"
    return Cause(field, f'{word}: "{kind}": {said}', reason)


def compile_errors(schema: Schema, path: str) -> Iterator[Cause]:
    """Causes for rules of a schema that do not compile: the definition is refused."""
    for index, rule in enumerate(schema.get(RULES) or ()):
        where = f"{path}.{RULES}[{index}].rule"
        try:
            parse(rule.get("rule") or "")
            _check_fields(rule["rule"], schema)
        except Unsupported:
            continue
        except CelSyntaxError as error:
            yield names.bad(where, rule.get("rule", ""), f"compilation failed: ERROR: <input>:1:1: {error}")
    for key, below in (schema.get("properties") or {}).items():
        yield from compile_errors(below, f"{path}.properties[{key}]")
    for key in ("items", "additionalProperties"):
        if isinstance(below := schema.get(key), dict):
            yield from compile_errors(below, f"{path}.{key}")


_CHAIN = re.compile(r"(?<![\w.])(?:self|oldSelf)((?:\.[A-Za-z_]\w*(?!\w*\s*\())+)")
_QUOTED = re.compile(r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*\"""")


def _check_fields(rule: str, schema: Schema) -> None:
    """Check that fields named after self exist in the schema. Raises CelSyntaxError."""
    for chain in _CHAIN.findall(_QUOTED.sub("''", rule)):
        below: Any = schema
        for name in chain.strip(".").split("."):
            open_ended = below.get("type") != "object" or "x-kubernetes-preserve-unknown-fields" in below
            if open_ended or below.get("additionalProperties"):
                break
            properties = below.get("properties") or {}
            field = unescaped(name)
            if field in ("apiVersion", "kind", "metadata"):
                break
            if field not in properties:
                raise CelSyntaxError(f"undefined field '{field}'")
            below = properties[field]
