"""x-kubernetes-validations: the CEL rules of a schema, held against a custom object and what it was before.

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
    """Every rule that does not hold; `old` is None for a creation. Rules this evaluator cannot read are not held."""
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
    """The item's earlier self: only those of a keyed list can be told."""
    keys = schema.get("x-kubernetes-list-map-keys")
    if schema.get("x-kubernetes-list-type") != "map" or not keys or not isinstance(old, list):
        return _MISSING
    wanted = [item.get(key) for key in keys]
    return next((o for o in old if [o.get(key) for key in keys] == wanted), _MISSING)


def _judge(rule: dict[str, Any], new: Any, old: Any, path: str) -> Cause | None:
    text = rule["rule"]
    if old is _MISSING and _OLD.search(text):
        return None  # a transition rule says nothing of what was not there
    scope = {"self": new, "oldSelf": None if old is _MISSING else old}
    try:
        if parse(text)(scope) is True:
            return None
        said = _message(rule, scope)
    except (Unsupported, CelSyntaxError):
        return None  # a definition with a rule that is no expression is refused when it is made
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
    """Rules of a schema that are no expressions: a definition with one is refused."""
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
    """Fields reached from self by names alone must be in the schema. Raises CelSyntaxError."""
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
